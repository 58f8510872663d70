# The same from MedicalNet, whose ResNet3D-18 has shortcuts without parameters.
_base_ = "resnet3d-18-unet_scratch_8xb2-poly-3k_lits.py"
model = dict(backbone=dict(shortcut_type="A"))
load_from = "zoo:medicalnet-resnet-18"
