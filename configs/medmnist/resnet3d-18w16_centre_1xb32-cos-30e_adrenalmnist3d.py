# The same from the CIFAR-size 2D ResNet-18, its kernels in the middle slice, zeros around them.
_base_ = "resnet3d-18w16_scratch_1xb32-cos-30e_adrenalmnist3d.py"
load_from = "work_dirs/resnet-18w16_1xb64-cos-48e_cifar10/epoch_48.pth"
inflate = "centre"
