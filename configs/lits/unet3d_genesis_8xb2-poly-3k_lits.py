# The U-Net of Models Genesis from its weights, with the same data, loss and schedule.
_base_ = "resnet3d-18-unet_scratch_8xb2-poly-3k_lits.py"
norm_cfg = dict(type="SyncBN")
model = dict(
    backbone=dict(_delete_=True, type="UNet3D", in_channels=1, num_classes=2, norm_cfg=norm_cfg),
    neck=None,
    decode_head=dict(_delete_=True, type="PseudoHead", label_map={2: 1}, loss_decode=dict(type="ComboLoss")),
)
load_from = "zoo:genesis-chest-ct"
