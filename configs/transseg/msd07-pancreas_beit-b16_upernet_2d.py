# TransSeg without depth on the pancreas and its tumours in CT (Decathlon, task 7).
_base_ = "./msd07-pancreas_beit-b16_upernet.py"
window = dict(slices=1)
model = dict(window=window)
train_dataloader = dict(dataset=dict(window=window))
inflate = None
