# TransSeg without depth on spleens in CT (Decathlon, task 9).
_base_ = "./msd09-spleen_beit-b16_upernet.py"
window = dict(slices=1)
model = dict(window=window)
train_dataloader = dict(dataset=dict(window=window))
inflate = None
