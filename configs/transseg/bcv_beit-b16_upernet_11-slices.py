# TransSeg over windows of 11 slices.
_base_ = "./bcv_beit-b16_upernet.py"
window = dict(slices=11)
model = dict(window=window)
train_dataloader = dict(dataset=dict(window=window))
