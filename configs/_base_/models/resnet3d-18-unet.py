# StdUNet: a 3D ResNet-18 whose stem keeps full resolution, a decoder over its five features, a small convolutional head.
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
        norm_cfg=dict(type="SyncBN"),
    ),
    neck=dict(type="UNetNeck", norm_cfg=dict(type="SyncBN")),
    decode_head=dict(type="FCNHead3D", channels=16, num_convs=2, dropout_ratio=0.1, norm_cfg=dict(type="SyncBN")),
)
