# The same from the 2D ImageNet ResNet-18, its kernels laid in the planes of all three axes (ACS).
_base_ = "resnet3d-18-fcn_scratch_8xb4-poly-13k_lidc-seg.py"
model = dict(backbone=dict(conv="acs"))
load_from = "torchvision://resnet18"
