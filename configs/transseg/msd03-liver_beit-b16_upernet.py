# TransSeg on livers and their tumours in CT (Decathlon, task 3). The other tasks in CT are children of this.
_base_ = [
    "../_base_/models/beit-b16-upernet.py",
    "../_base_/datasets/transseg.py",
    "../_base_/schedules/transseg_25k.py",
    "../_base_/inits/beit-b16.py",
    "../_base_/default_runtime.py",
]
model = dict(num_classes=3)
data = dict(task=3, data_root="data/msd/Task03_Liver/", split_file="data/splits/msd03_transseg.json")
train_dataloader = dict(dataset=dict(dataset=data))
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
default_hooks = dict(checkpoint=dict(interval=1000, save_best="dice"), logger=dict(interval=100))
