# The same from the 2D ImageNet ResNet-18, its kernels laid in the planes of all three axes (ACS).
_base_ = "resnet3d-18_scratch_4xb32-step-100e_lidc.py"
model = dict(backbone=dict(conv="acs"))
load_from = "torchvision://resnet18"
