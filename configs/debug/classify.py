# A nodule classifier in a minute on a laptop's CPU, on phantoms that it makes itself; no download.
# From a pre-trained network: --cfg-options load_from=work_dirs/pretrain/epoch_10.pth
_base_ = ["../_base_/models/resnet3d-18.py", "../_base_/datasets/lidc.py", "../_base_/default_runtime.py"]
model = dict(backbone=dict(depth=10, base_channels=8, depth_stride=True), head=dict(num_classes=2))
dataset = dict(type="PhantomNodules", data_root="data/generated/nodules", make=dict(cases=300), by="patient")
train_dataloader = dict(batch_size=8, num_workers=0, dataset=dataset)
val_dataloader = dict(batch_size=8, num_workers=0, dataset=dataset)
test_dataloader = dict(batch_size=8, num_workers=0, dataset=dataset)
optim_wrapper = dict(optimizer=dict(type="AdamW", lr=2e-3, weight_decay=0.01))
param_scheduler = dict(type="MultiStepLR", milestones=[12], gamma=0.1, by_epoch=True)
train_cfg = dict(by_epoch=True, max_epochs=15)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=8)
default_hooks = dict(logger=dict(interval=10))
