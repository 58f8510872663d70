# The small TransSeg without depth.
_base_ = "./hippocampus_beit-6x128_upernet.py"
window = dict(slices=1)
model = dict(window=window)
train_dataloader = dict(dataset=dict(window=window))
