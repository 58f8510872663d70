# TransSeg on the hippocampus in MRI (Decathlon, task 4).
_base_ = [
    "../_base_/models/beit-b16-upernet.py",
    "../_base_/datasets/transseg-240.py",
    "../_base_/schedules/transseg_25k.py",
    "../_base_/inits/beit-b16.py",
    "../_base_/default_runtime.py",
]
model = dict(backbone=dict(img_size=240), num_classes=3)
data = dict(task=4, data_root="data/msd/Task04_Hippocampus/", split_file="data/splits/msd04_transseg.json")
train_dataloader = dict(batch_size=4, dataset=dict(dataset=data))
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
default_hooks = dict(checkpoint=dict(interval=1000, save_best="dice"), logger=dict(interval=100))
