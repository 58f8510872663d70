# TransSeg: BEiT-B/16, whose first convolution takes all slices of a window in, and UPerNet for the slice in the middle.
norm_cfg = dict(type="SyncBN")
model = dict(
    type="SliceWindowSegmentor",
    backbone=dict(type="BEiT3D", img_size=512),
    neck=dict(type="Feature2Pyramid", norm_cfg=norm_cfg),
    decode_head=dict(type="UPerHead", in_index=(0, 1, 2, 3), channels=768, norm_cfg=norm_cfg),
    loss_decode=[dict(type="DiceLoss3D"), dict(type="FocalLoss3D")],
    num_classes=2,
    test_cfg=dict(inferer=dict(type="SliceWindowInferer", divisor=16)),
)
