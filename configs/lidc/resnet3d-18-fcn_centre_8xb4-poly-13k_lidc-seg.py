# The same from the 2D ImageNet ResNet-18, its kernels in the middle slice, zeros around them.
_base_ = "resnet3d-18-fcn_scratch_8xb4-poly-13k_lidc-seg.py"
load_from = "torchvision://resnet18"
inflate = "centre"
