# TransSeg on tumours of the brain in four sequences of MRI (Decathlon, task 1).
_base_ = [
    "../_base_/models/beit-b16-upernet.py",
    "../_base_/datasets/transseg-240.py",
    "../_base_/schedules/transseg_25k.py",
    "../_base_/inits/beit-b16.py",
    "../_base_/default_runtime.py",
]
model = dict(backbone=dict(img_size=240), in_channels=4, num_classes=4)
data = dict(task=1, data_root="data/msd/Task01_BrainTumour/", split_file="data/splits/msd01_transseg.json")
scale = [dict(type="Percentile3D"), dict(type="Pad3D", size=(None, 240, 240))]
test_pipeline = [*scale, _base_.pack]
train_dataloader = dict(batch_size=4, dataset=dict(dataset=data, pipeline=[*scale, *_base_.augment]))
val_dataloader = dict(dataset=dict(**data, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(**data, pipeline=test_pipeline))
train_cfg = dict(max_iters=250000)
default_hooks = dict(checkpoint=dict(interval=1000, save_best="dice"), logger=dict(interval=100))
