# TransSeg over windows of every third slice.
_base_ = "./bcv_beit-b16_upernet.py"
window = dict(stride=3)
model = dict(window=window)
train_dataloader = dict(dataset=dict(window=window))
