# StdUNet: a 3D ResNet-18 whose stem keeps full resolution, a decoder over its five features, a small head.
norm_cfg = dict(type="SyncBN")
model = dict(
    type="VolumeSegmentor",
    backbone=dict(
        type="ResNet3D",
        depth=18,
        in_channels=1,
        depth_stride=True,
        stem_stride=False,
        stem_pool=True,
        unet_features=True,
        out_indices=(0, 1, 2, 3),
        norm_cfg=norm_cfg,
    ),
    neck=dict(type="UNetNeck", norm_cfg=norm_cfg),
    decode_head=dict(type="FCNHead3D", num_classes=2, norm_cfg=norm_cfg),
)
