# mmsegmentation's U-Net over windows of neighbouring slices (2.5D); a child says how many, here and in its data set.
norm_cfg = dict(type="SyncBN")
model = dict(
    type="SliceWindowSegmentor",
    backbone=dict(type="UNet", base_channels=64, norm_cfg=norm_cfg),
    decode_head=dict(type="FCNHead", in_index=4, channels=64, num_convs=1, concat_input=False, norm_cfg=norm_cfg),
    num_classes=2,
    test_cfg=dict(inferer=dict(type="SliceWindowInferer", divisor=16)),
)
