# Organ segmentation in a minute on a laptop's CPU, on phantom abdomens that it makes itself; no download.
_base_ = ["../_base_/models/resnet3d-18-unet.py", "../_base_/default_runtime.py"]
norm_cfg = dict(type="IN", affine=True)
patch = (16, 80, 96)
model = dict(
    backbone=dict(depth=10, base_channels=16, stem_stride=True, norm_cfg=norm_cfg),
    neck=dict(norm_cfg=norm_cfg),
    decode_head=dict(num_classes=6, num_convs=0, dropout_ratio=0),
    test_cfg=dict(inferer=dict(type="SlidingWindow", window=patch)),
)
normalize = [dict(type="Window", center=40, width=400), dict(type="Normalize3D", mean=0.4, std=0.3)]
reorient = dict(type="Reorient3D")
train_pipeline = [
    reorient,
    dict(type="RandomPatch3D", size=patch, foreground=0.5),
    *normalize,
    dict(type="PackSegmentation"),
]
test_pipeline = [reorient, *normalize, dict(type="PackSegmentation")]
dataset = dict(type="PhantomOrgans", data_root="data/generated/organs", make=dict(cases=40))
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(**dataset, split="train", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**dataset, split="val", whole_scans=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="SegmentationScores", surface=False)
test_evaluator = dict(type="SegmentationScores")
optim_wrapper = dict(optimizer=dict(type="AdamW", lr=1e-2, weight_decay=0.01))
param_scheduler = dict(type="MultiStepLR", milestones=[14], gamma=0.1, by_epoch=True)
train_cfg = dict(by_epoch=True, max_epochs=18, val_interval=6)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=2)
default_hooks = dict(checkpoint=dict(save_best="dice"), logger=dict(interval=10))
