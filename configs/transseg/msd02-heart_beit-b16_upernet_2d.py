# TransSeg without depth on the left atrium in MRI (Decathlon, task 2).
_base_ = "./msd02-heart_beit-b16_upernet.py"
window = dict(slices=1)
model = dict(window=window)
train_dataloader = dict(dataset=dict(window=window))
inflate = None
