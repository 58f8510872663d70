# The same from the 2D ImageNet ResNet-18, its kernels repeated along depth (I3D).
_base_ = "resnet3d-18-fcn_scratch_8xb4-poly-13k_lidc-seg.py"
load_from = "torchvision://resnet18"
inflate = "i3d"
