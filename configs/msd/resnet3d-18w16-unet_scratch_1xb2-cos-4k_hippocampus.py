# Task 4 of the Decathlon, the hippocampus in two parts, in twenty minutes of two CPU cores: a narrow StdUNet.
# Read as it is: the scans are so small (about 36 x 50 x 35 voxels of 1 mm) that there is nothing to prepare.
_base_ = [
    "../_base_/models/resnet3d-18-unet.py",
    "../_base_/inits/resnet3d-18w16.py",
    "../_base_/default_runtime.py",
]
model = dict(
    backbone=dict(base_channels=16),
    decode_head=dict(num_classes=3, num_convs=0, dropout_ratio=0),
    test_cfg=dict(inferer=dict(type="WholeVolume", divisor=16)),
)
reorient = dict(type="Reorient3D")
train_pipeline = [
    reorient,
    dict(type="ZScore"),
    dict(type="RandomSpatial3D", rotate=15, rotate_prob=0.3, scale=(0.85, 1.2), scale_prob=0.3),
    dict(type="RandomPatch3D", size=(40, 56, 40), foreground=0, pad_value=0),
    dict(type="RandomFlip3D", axes="W"),
    dict(type="RandomGamma3D"),
    dict(type="RandomGaussianNoise", std=0.1, prob=0.15),
    dict(type="RandomContrast3D"),
    dict(type="PackSegmentation"),
]
test_pipeline = [reorient, dict(type="ZScore"), dict(type="PackSegmentation")]
dataset = dict(type="MSD", task=4, data_root="data/msd/Task04_Hippocampus")
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
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**dataset, split="test", whole_scans=True, pipeline=test_pipeline),
)
val_evaluator = dict(type="SegmentationScores", surface=False)
test_evaluator = dict(type="SegmentationScores", resamples=1000)
optim_wrapper = dict(
    type="AmpOptimWrapper", optimizer=dict(type="AdamW", lr=2e-3, weight_decay=0.01), clip_grad=dict(max_norm=12)
)
param_scheduler = dict(type="CosineAnnealingLR", by_epoch=False)
train_cfg = dict(by_epoch=False, max_iters=4000, val_interval=500)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=2)
channels_last = True
default_hooks = dict(checkpoint=dict(interval=500, save_best="dice"), logger=dict(interval=50))
custom_hooks = [dict(type="EMAHook", ema_type="ExponentialMovingAverage", momentum=0.005, priority="NORMAL")]
inits = dict(
    genesis=dict(  # the U-Net of Models Genesis in the network's place
        model=dict(
            backbone=dict(_delete_=True, type="UNet3D", in_channels=1, num_classes=3, norm_cfg=dict(type="SyncBN")),
            neck=None,
            decode_head=dict(_delete_=True, type="PseudoHead"),
        ),
        load_from="zoo:genesis-chest-ct",
    )
)
