# The 2D twin of the VDT run: same stem, width, data, recipe and length; the source of I3D, centre, ACS and 2.5D.
_base_ = "resnet3d-18w16_vdt_1xb64-cos-48e_cifar10.py"
data_preprocessor = dict(_delete_=True, mean=[114.495] * 3, std=[57.63] * 3, to_rgb=True)
model = dict(
    type="ImageClassifier",
    backbone=dict(
        _delete_=True,
        type="ResNetNoStemStride",
        depth=18,
        base_channels=16,
        stem_channels=16,
        out_indices=(3,),
        style="pytorch",
    ),
    neck=dict(_delete_=True, type="GlobalAveragePooling"),
    head=dict(in_channels=128),
)
read = dict(type="LoadImageFromFile")
train_pipeline = [
    read,
    dict(type="mmpretrain.RandomCrop", crop_size=32, padding=4),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="PackInputs"),
]
test_pipeline = [read, dict(type="PackInputs")]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
