# TransSeg on the zones of the prostate in two sequences of MRI (Decathlon, task 5).
_base_ = [
    "../_base_/models/beit-b16-upernet.py",
    "../_base_/datasets/transseg-320.py",
    "../_base_/schedules/transseg_25k.py",
    "../_base_/inits/beit-b16.py",
    "../_base_/default_runtime.py",
]
model = dict(backbone=dict(img_size=320), in_channels=2, num_classes=3)
data = dict(task=5, data_root="data/msd/Task05_Prostate/", split_file="data/splits/msd05_transseg.json")
scale = [dict(type="Window", center=1076, width=2152), dict(type="Resize3D", size=(None, 320, 320))]
test_pipeline = [*scale, _base_.pack]
train_dataloader = dict(batch_size=4, dataset=dict(dataset=data, pipeline=[*scale, *_base_.augment]))
val_dataloader = dict(dataset=dict(**data, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(**data, pipeline=test_pipeline))
default_hooks = dict(checkpoint=dict(interval=1000, save_best="dice"), logger=dict(interval=100))
