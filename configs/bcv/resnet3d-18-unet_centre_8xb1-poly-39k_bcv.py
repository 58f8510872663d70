# The same from the 2D ImageNet ResNet-18, its kernels in the middle slice, zeros around them.
_base_ = "resnet3d-18-unet_scratch_8xb1-poly-39k_bcv.py"
load_from = "torchvision://resnet18"
inflate = "centre"
