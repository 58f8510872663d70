# VDT pre-training at CIFAR size: width 16, no stride in the stem, channel shuffle, label smoothing, cosine, bf16.
_base_ = ["../_base_/models/resnet3d-18.py", "../_base_/datasets/cifar10_vdt.py", "../_base_/default_runtime.py"]
model = dict(
    backbone=dict(base_channels=16, stem_stride=False),
    head=dict(num_classes=10, loss=dict(_delete_=True, type="LabelSmoothLoss", label_smooth_val=0.1, mode="original")),
)
channels_last = True
optim_wrapper = dict(
    type="AmpOptimWrapper", optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=3, by_epoch=True, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", begin=3, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=48, val_interval=4)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=64)
