# TransSeg without depth on tumours of the colon in CT (Decathlon, task 10).
_base_ = "./msd10-colon_beit-b16_upernet.py"
window = dict(slices=1)
model = dict(window=window)
train_dataloader = dict(dataset=dict(window=window))
inflate = None
