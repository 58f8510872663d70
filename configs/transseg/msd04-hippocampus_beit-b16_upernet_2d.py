# TransSeg without depth on the hippocampus in MRI (Decathlon, task 4).
_base_ = "./msd04-hippocampus_beit-b16_upernet.py"
window = dict(slices=1)
model = dict(window=window)
train_dataloader = dict(dataset=dict(window=window))
inflate = None
