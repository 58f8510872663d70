# TransSeg on the pancreas and its tumours in CT (Decathlon, task 7).
_base_ = "./msd03-liver_beit-b16_upernet.py"
data = dict(task=7, data_root="data/msd/Task07_Pancreas/", split_file="data/splits/msd07_transseg.json")
train_dataloader = dict(dataset=dict(dataset=data))
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
train_cfg = dict(max_iters=100000)
