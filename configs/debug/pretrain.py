# VDT pre-training in a minute on a laptop's CPU, on fractal pictures that it makes itself; no download.
_base_ = ["../_base_/models/resnet3d-18.py", "../_base_/datasets/cifar10_vdt.py", "../_base_/default_runtime.py"]
data_root = "data/generated/fractals"
make = dict(classes=10, per_class=100, size=64)
model = dict(backbone=dict(depth=10, base_channels=8), head=dict(num_classes=10))
train_pipeline = _base_.train_pipeline
train_pipeline[1].update(crop_size=64, padding=8)
dataset = dict(_delete_=True, type="FractalPictures", data_root=data_root, make=make)
train_dataloader = dict(batch_size=32, num_workers=0, dataset=dict(**dataset, split="train", pipeline=train_pipeline))
val_dataloader = dict(num_workers=0, dataset=dict(**dataset, split="val", pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type="Accuracy", topk=(1,))
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4))
param_scheduler = dict(type="MultiStepLR", milestones=[8], gamma=0.1, by_epoch=True)
train_cfg = dict(by_epoch=True, max_epochs=10)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=32)
default_hooks = dict(logger=dict(interval=10))
