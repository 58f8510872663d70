# The same from the 2D ImageNet ResNet-18, its kernels flat: no convolution looks along depth.
_base_ = "resnet3d-18-fcn_scratch_8xb4-poly-13k_lidc-seg.py"
model = dict(backbone=dict(conv="2.5d"))
load_from = "torchvision://resnet18"
