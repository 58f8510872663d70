# MRI in TransSeg's windows of 240 x 240 (brain and hippocampus), each case on its own scale; a child names the data.
_base_ = "./transseg.py"
scale = [dict(type="Percentile3D"), dict(type="Resize3D", size=(None, 240, 240))]
augment = [
    dict(type="RandomZoom3D", scale=(0.5, 2.0), in_slices=True),
    dict(type="RandomCrop3D", size=(None, 240, 240)),
    dict(type="RandomFlip3D", axes="HW", prob=0.1),
    _base_.turn,
    _base_.shift,
    dict(type="Pad3D", size=(None, 240, 240)),
    _base_.pack,
]
published_zoom = [
    dict(type="RandomZoom3D", scale=(0.5, 2.0)),
    dict(type="RandomCrop3D", size=(5, 240, 240)),
]
published_rest = [
    dict(type="RandomFlip3D", axes="DHW", prob=0.1),
    _base_.turn,
    _base_.shift,
    dict(type="Pad3D", size=(5, 240, 240)),
    _base_.pack,
]
train_pipeline = [*scale, *augment]
published_train_pipeline = [scale[1], *published_zoom, scale[0], *published_rest]
test_pipeline = [*scale, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
