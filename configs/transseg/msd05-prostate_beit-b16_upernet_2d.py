# TransSeg without depth on the zones of the prostate in two sequences of MRI (Decathlon, task 5).
_base_ = "./msd05-prostate_beit-b16_upernet.py"
window = dict(slices=1)
model = dict(window=window)
train_dataloader = dict(dataset=dict(window=window))
inflate = None
