# The same from MedicalNet, whose ResNet3D-18 has shortcuts without parameters.
_base_ = "resnet3d-18_scratch_4xb32-step-100e_lidc.py"
model = dict(backbone=dict(shortcut_type="A"))
load_from = "zoo:medicalnet-resnet-18"
