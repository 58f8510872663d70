# TransSeg without depth ("w/o D"): the network sees the slice it answers, and no other.
_base_ = "./bcv_beit-b16_upernet.py"
window = dict(slices=1)
model = dict(window=window)
train_dataloader = dict(dataset=dict(window=window))
inflate = None
