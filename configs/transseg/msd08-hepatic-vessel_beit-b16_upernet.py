# TransSeg on vessels and tumours of the liver in CT (Decathlon, task 8).
_base_ = [
    "../_base_/models/beit-b16-upernet.py",
    "../_base_/datasets/transseg.py",
    "../_base_/schedules/transseg_25k.py",
    "../_base_/default_runtime.py",
]
model = dict(num_classes=3)
data = dict(task=8, data_root="data/msd/Task08_HepaticVessel/", split_file="data/splits/msd08_transseg.json")
train_dataloader = dict(dataset=dict(dataset=data))
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
train_cfg = dict(max_iters=100000)
default_hooks = dict(checkpoint=dict(interval=1000, save_best="dice"), logger=dict(interval=100))
load_from = "zoo:beit-base-in22k"
inflate = "centre"
