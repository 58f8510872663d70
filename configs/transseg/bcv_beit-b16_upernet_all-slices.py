# TransSeg that answers all slices of a window; at prediction a slice is the mean of the five windows that answer it.
_base_ = "./bcv_beit-b16_upernet.py"
window = dict(target="all")
model = dict(window=window)
train_dataloader = dict(dataset=dict(window=window))
