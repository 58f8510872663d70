# TransSeg without depth on livers and their tumours in CT (Decathlon, task 3).
_base_ = "./msd03-liver_beit-b16_upernet.py"
window = dict(slices=1)
model = dict(window=window)
train_dataloader = dict(dataset=dict(window=window))
inflate = None
