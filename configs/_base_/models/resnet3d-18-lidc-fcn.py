# The LIDC segmentation network: a 3D ResNet-18 without stem stride or pooling, joined from coarse to fine by its head.
norm_cfg = dict(type="SyncBN")
model = dict(
    type="VolumeSegmentor",
    backbone=dict(
        type="ResNet3D",
        depth=18,
        in_channels=1,
        depth_stride=True,
        stem_stride=False,
        unet_features=True,
        strides=(1, 2, 1, 2),
        out_indices=(0, 1, 2, 3),
        norm_cfg=norm_cfg,
    ),
    decode_head=dict(type="LIDCFCNHead", num_classes=2, norm_cfg=norm_cfg, loss_decode=dict(type="CombineLoss")),
    test_cfg=dict(inferer=dict(type="WholeVolume")),
)
