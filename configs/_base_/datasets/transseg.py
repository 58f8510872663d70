# Windows of five slices with the augmentation of TransSeg (Zhang et al. 2022); CT of 512 x 512, a child names the data.
window = dict(slices=5)
# -175 to 250 HU become 0 to 1, and what the preparation cut away of the 512 x 512 is 0 again. A child of other images
# puts a `scale` of its own before these lists: Resize3D in place of Pad3D where slices are not 512 x 512 by nature.
scale = [dict(type="Window", center=37.5, width=425), dict(type="Pad3D", size=(None, 512, 512))]
turn = dict(type="RandomRotate90", planes=["HW"], prob=0.1)
shift = dict(type="RandomScaleShift", scale=(1, 1), shift=(-0.1, 0.1), together=True, prob=0.5)
pack = dict(type="PackSegmentation")
augment = [
    dict(type="RandomZoom3D", scale=(0.5, 2.0), in_slices=True),
    dict(type="RandomCrop3D", size=(None, 512, 512)),
    dict(type="RandomFlip3D", axes="HW", prob=0.1),
    turn,
    shift,
    dict(type="Pad3D", size=(None, 512, 512)),
    pack,
]
# As published, zoom, crop and flips reach across slices: they are blended, and the labelled one may be any of five.
# Zoom and crop come before the intensities are scaled, so that Hounsfield units are averaged, not what a window left.
published_zoom = [
    dict(type="RandomZoom3D", scale=(0.5, 2.0)),
    dict(type="RandomCrop3D", size=(5, 512, 512)),
]
published_rest = [
    dict(type="RandomFlip3D", axes="DHW", prob=0.1),
    turn,
    shift,
    dict(type="Pad3D", size=(5, 512, 512)),
    pack,
]
train_pipeline = [*scale, *augment]
air = dict(type="Pad3D", size=(None, 512, 512), pad_value=-1024)
published_train_pipeline = [air, *published_zoom, scale[0], *published_rest]
test_pipeline = [*scale, pack]
dataset = dict(type="MSD", prepared="prepared")
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="SliceWindows", dataset=dict(**dataset, split="train"), pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**dataset, split="val", whole_scans=True, pipeline=test_pipeline),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**dataset, split="test", whole_scans=True, pipeline=test_pipeline),
)
val_evaluator = dict(type="SegmentationScores", surface=False)
test_evaluator = dict(type="SegmentationScores", resamples=1000)
