# 2.5D in a minute on a laptop's CPU: a U-Net that sees three slices of MR phantoms, which make themselves; no download.
_base_ = ["../_base_/models/unet-windows.py", "../_base_/default_runtime.py"]
norm_cfg = dict(type="BN")
window = dict(slices=3)
model = dict(
    backbone=dict(base_channels=8, norm_cfg=norm_cfg),
    decode_head=dict(channels=8, dropout_ratio=0, norm_cfg=norm_cfg),
    num_classes=8,
    regions=dict(large_bowel=(1, 3, 5, 7), small_bowel=(2, 3, 6, 7), stomach=(4, 5, 6, 7)),
)
reorient = dict(type="Reorient3D")
train_pipeline = [
    dict(type="Percentile3D"),
    dict(type="RandomPatch3D", size=(None, 48, 48), foreground=0),
    dict(type="RandomGaussianNoise", std=0.05),
    dict(type="PackSegmentation"),
]
test_pipeline = [reorient, dict(type="Percentile3D"), dict(type="PackSegmentation")]
dataset = dict(type="PhantomGITract", data_root="data/generated/gi_tract", make=dict(cases=5), fold=int("{{$FOLD:0}}"))
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="SliceWindows",
        dataset=dict(**dataset, split="train", pipeline=[reorient]),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**dataset, split="val", whole_scans=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="SegmentationScores", surface=False)
test_evaluator = [dict(type="GITractScore"), dict(type="SegmentationScores")]
optim_wrapper = dict(optimizer=dict(type="AdamW", lr=1e-2, weight_decay=0.01))
param_scheduler = dict(type="MultiStepLR", milestones=[9], gamma=0.1, by_epoch=True)
train_cfg = dict(by_epoch=True, max_epochs=12, val_interval=6)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=8)
default_hooks = dict(checkpoint=dict(save_best="dice"), logger=dict(interval=10))
