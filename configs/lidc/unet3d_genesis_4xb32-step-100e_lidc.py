# The same with the encoder of Models Genesis in the place of the ResNet3D-18, from its weights.
_base_ = "resnet3d-18_scratch_4xb32-step-100e_lidc.py"
model = dict(backbone=dict(_delete_=True, type="UNet3D", in_channels=1, decoder=False))
load_from = "zoo:genesis-chest-ct"
