# TransSeg over windows of 21 slices.
_base_ = "./bcv_beit-b16_upernet.py"
window = dict(slices=21)
model = dict(window=window)
train_dataloader = dict(dataset=dict(window=window))
