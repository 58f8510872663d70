# The same from the 2D ImageNet ResNet-18, its kernels flat: no convolution looks along depth.
_base_ = "resnet3d-18_scratch_4xb32-step-100e_lidc.py"
model = dict(backbone=dict(conv="2.5d"))
load_from = "torchvision://resnet18"
