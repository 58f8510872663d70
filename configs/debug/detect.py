# Lesion detection in a minute on a laptop's CPU, on phantoms that are made on the spot; no download.
# Balls are lesions; tubes that cross the slices look the same in each, and hardly different in three of them.
_base_ = ["../_base_/models/faster-rcnn-p3d63.py", "../_base_/default_runtime.py"]
window = dict(slices=9, spacing=2.5)
# Balls of 6 to 9 mm, 80 HU above the tissue; the noise's standard deviation is half of that.
phantoms = dict(lesions=(0, 2), distractors=(1, 3), radius=(6.0, 9.0), contrast=80.0, noise=0.5)
model = dict(
    backbone=dict(depth="18ba", base_channels=16, norm_cfg=dict(type="GN", num_groups=4)),
    fpn_channels=32,
    head_channels=128,
    rpn=dict(
        batch_size_per_image=64,
        pre_nms_top_n=dict(training=200, testing=100),
        post_nms_top_n=dict(training=100, testing=50),
    ),
    roi=dict(batch_size_per_image=64),
)
normalize = dict(type="ClipNormalize3D", low=-100, high=260, mean=40, std=50)
train_pipeline = [normalize, dict(type="RandomFlip3D", axes="DHW"), dict(type="PackDetection")]
test_pipeline = [normalize, dict(type="PackDetection")]
dataset = dict(type="PhantomLesions", size=128, pixel=0.6, make=phantoms)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(**dataset, split="train", cases=200, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**dataset, split="val", cases=50, pipeline=test_pipeline),
)
test_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**dataset, split="test", cases=50, pipeline=test_pipeline),
)
val_evaluator = dict(type="DetectionScores")
test_evaluator = dict(type="DetectionScores", resamples=1000)
optim_wrapper = dict(optimizer=dict(type="AdamW", lr=2e-3, weight_decay=0.01), clip_grad=dict(max_norm=35))
param_scheduler = dict(type="MultiStepLR", milestones=[3], gamma=0.1, by_epoch=True)
train_cfg = dict(by_epoch=True, max_epochs=4, val_interval=2)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=4)
default_hooks = dict(checkpoint=dict(save_best="froc"), logger=dict(interval=10))
