# The same for segmentors, and the U-Net of Models Genesis in the network's place; a child adds its classes and loss.
_base_ = "resnet3d-18.py"
inits = dict(
    genesis=dict(
        model=dict(
            backbone=dict(_delete_=True, type="UNet3D", in_channels=1, norm_cfg=dict(type="SyncBN")),
            neck=None,
            decode_head=dict(_delete_=True, type="PseudoHead"),
        ),
        load_from="zoo:genesis-chest-ct",
    )
)
