# The same from the 2D ImageNet ResNet-18, its kernels flat: no convolution looks along depth.
_base_ = "resnet3d-18-unet_scratch_8xb1-poly-39k_bcv.py"
model = dict(backbone=dict(conv="2.5d"))
load_from = "torchvision://resnet18"
