# The U-Net of Models Genesis, which ends in scores by itself.
norm_cfg = dict(type="SyncBN")
model = dict(
    type="VolumeSegmentor",
    backbone=dict(type="UNet3D", in_channels=1, norm_cfg=norm_cfg),
    decode_head=dict(type="PseudoHead"),
)
