# The same from the 2D ImageNet ResNet-18, its kernels repeated along depth (I3D).
_base_ = "resnet3d-18_scratch_4xb32-step-100e_lidc.py"
load_from = "torchvision://resnet18"
inflate = "i3d"
