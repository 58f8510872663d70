# A ResNet3D-18 of width 16 from scratch on AdrenalMNIST3D (28 voxels, official split), isotropic strides.
_base_ = [
    "../_base_/models/resnet3d-18.py",
    "../_base_/datasets/medmnist3d.py",
    "../_base_/inits/resnet3d-18w16.py",
    "../_base_/default_runtime.py",
]
model = dict(
    backbone=dict(base_channels=16, depth_stride=True, stem_pool=False),
    head=dict(num_classes=2),
)
channels_last = True
optim_wrapper = dict(type="AmpOptimWrapper", optimizer=dict(type="AdamW", lr=5e-4, weight_decay=0.01))
param_scheduler = dict(type="CosineAnnealingLR", by_epoch=True, convert_to_iter_based=True)
train_cfg = dict(by_epoch=True, max_epochs=30)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=32)
default_hooks = dict(checkpoint=dict(save_best="auc"), logger=dict(interval=20))
