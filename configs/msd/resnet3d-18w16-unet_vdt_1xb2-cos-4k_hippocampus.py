# The same from the CIFAR-size VDT checkpoint of configs/imagenet_pretrain.
_base_ = "resnet3d-18w16-unet_scratch_1xb2-cos-4k_hippocampus.py"
load_from = "work_dirs/resnet3d-18w16_vdt_1xb64-cos-48e_cifar10/epoch_48.pth"
