# The same from the CIFAR-size VDT checkpoint of configs/imagenet_pretrain.
_base_ = "resnet3d-18w16_scratch_1xb32-cos-30e_adrenalmnist3d.py"
load_from = "work_dirs/resnet3d-18w16_vdt_1xb64-cos-48e_cifar10/epoch_48.pth"
