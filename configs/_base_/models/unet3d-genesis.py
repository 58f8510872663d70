# The U-Net of Models Genesis: its head is part of it.
model = dict(type="VolumeSegmentor", backbone=dict(type="UNet3D", in_channels=1))
