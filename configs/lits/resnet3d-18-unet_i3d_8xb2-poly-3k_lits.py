# The same from the 2D ImageNet ResNet-18, its kernels repeated along depth (I3D).
_base_ = "resnet3d-18-unet_scratch_8xb2-poly-3k_lits.py"
load_from = "torchvision://resnet18"
inflate = "i3d"
