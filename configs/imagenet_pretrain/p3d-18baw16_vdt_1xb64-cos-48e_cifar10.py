# VDT pre-training of P3D-18ba at CIFAR size, width 16, no stride in the stem.
# What starts from it has the same groups of channels, which no checkpoint tells: configs/debug/detect.py has.
_base_ = "resnet3d-18w16_vdt_1xb64-cos-48e_cifar10.py"
model = dict(
    backbone=dict(
        _delete_=True,
        type="P3D",
        depth="18ba",
        base_channels=16,
        norm_cfg=dict(type="GN", num_groups=4),
        stem_stride=False,
        window=dict(slices=3),
        depth_pooling=False,
        conversion="keep3d",
        out_indices=(3,),
    )
)
