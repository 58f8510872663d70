# TransSeg on vessels and tumours of the liver in CT (Decathlon, task 8).
_base_ = "./msd03-liver_beit-b16_upernet.py"
data = dict(task=8, data_root="data/msd/Task08_HepaticVessel/", split_file="data/splits/msd08_transseg.json")
train_dataloader = dict(dataset=dict(dataset=data))
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
train_cfg = dict(max_iters=100000)
