# The hippocampus slice by slice, all else as in its 3D config: a 2D U-Net of width 16 that sees 5 neighbouring slices.
_base_ = "./resnet3d-18w16-unet_scratch_1xb2-cos-4k_hippocampus.py"
norm_cfg = dict(type="SyncBN")
window = dict(slices=5)
model = dict(
    _delete_=True,
    type="SliceWindowSegmentor",
    backbone=dict(type="UNet", base_channels=16, norm_cfg=norm_cfg),
    decode_head=dict(
        type="FCNHead",
        in_index=4,
        channels=16,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0,
        norm_cfg=norm_cfg,
    ),
    num_classes=3,
    test_cfg=dict(inferer=dict(type="SliceWindowInferer", divisor=16)),
)
train_pipeline = [
    dict(type="ZScore"),
    dict(type="RandomSpatial3D", in_slices=True, rotate_prob=0.3, scale=(0.85, 1.2), scale_prob=0.3),
    dict(type="RandomPatch3D", size=(None, 64, 48), foreground=0, pad_value=0),
    dict(type="RandomFlip3D", axes="W"),
    dict(type="RandomGamma3D"),
    dict(type="RandomGaussianNoise", std=0.1, prob=0.15),
    dict(type="RandomContrast3D"),
    dict(type="PackSegmentation"),
]
train_dataloader = dict(
    batch_size=32,
    dataset=dict(
        _delete_=True,
        type="SliceWindows",
        dataset=dict(**_base_.dataset, split="train", pipeline=[_base_.reorient]),
        pipeline=train_pipeline,
    ),
)
auto_scale_lr = dict(base_batch_size=32)
inits = init = None  # the weights of the table are for another network
