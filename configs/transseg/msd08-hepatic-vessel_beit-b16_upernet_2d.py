# TransSeg without depth on vessels and tumours of the liver in CT (Decathlon, task 8).
_base_ = "./msd08-hepatic-vessel_beit-b16_upernet.py"
window = dict(slices=1)
model = dict(window=window)
train_dataloader = dict(dataset=dict(window=window))
inflate = None
