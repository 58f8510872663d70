# VDT pre-training at 224 pixels on any class folders: data_root/train/CLASS/*.jpg, data_root/val/CLASS/*.jpg.
_base_ = [
    "../_base_/models/resnet3d-18.py",
    "../_base_/datasets/imagenet_vdt.py",
    "../_base_/schedules/imagenet_cos_100e.py",
    "../_base_/default_runtime.py",
]
data_root = "data/pictures/"
num_classes = 2
model = dict(
    head=dict(
        num_classes=num_classes, loss=dict(_delete_=True, type="LabelSmoothLoss", label_smooth_val=0.1, mode="original")
    )
)
channels_last = True
train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    drop_last=True,
    dataset=dict(_delete_=True, type="ImageFolder", data_root=data_root + "train", pipeline=_base_.train_pipeline),
)
val_dataloader = dict(
    dataset=dict(_delete_=True, type="ImageFolder", data_root=data_root + "val", pipeline=_base_.test_pipeline)
)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type="Accuracy", topk=(1,))
optim_wrapper = dict(optimizer=dict(lr=0.00625))  # 0.1 for 256 pictures a step
train_cfg = dict(max_epochs=20)
auto_scale_lr = dict(base_batch_size=16)
default_hooks = dict(logger=dict(interval=5))
