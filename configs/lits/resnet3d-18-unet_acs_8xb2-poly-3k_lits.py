# The same from the 2D ImageNet ResNet-18, its kernels laid in the planes of all three axes (ACS).
_base_ = "resnet3d-18-unet_scratch_8xb2-poly-3k_lits.py"
model = dict(backbone=dict(conv="acs"))
load_from = "torchvision://resnet18"
