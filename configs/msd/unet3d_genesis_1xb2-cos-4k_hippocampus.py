# The U-Net of Models Genesis from its weights, with the same data, loss and schedule.
_base_ = "resnet3d-18w16-unet_scratch_1xb2-cos-4k_hippocampus.py"
norm_cfg = dict(type="SyncBN")
model = dict(
    backbone=dict(_delete_=True, type="UNet3D", in_channels=1, num_classes=3, norm_cfg=norm_cfg),
    neck=None,
    decode_head=dict(_delete_=True, type="PseudoHead"),
)
load_from = "zoo:genesis-chest-ct"
