# The same from MedicalNet, whose ResNet3D-18 has shortcuts without parameters.
_base_ = "resnet3d-18-fcn_scratch_8xb4-poly-13k_lidc-seg.py"
model = dict(backbone=dict(shortcut_type="A"))
load_from = "zoo:medicalnet-resnet-18"
