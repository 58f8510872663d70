# TransSeg without depth on tumours of the lung in CT (Decathlon, task 6).
_base_ = "./msd06-lung_beit-b16_upernet.py"
window = dict(slices=1)
model = dict(window=window)
train_dataloader = dict(dataset=dict(window=window))
inflate = None
