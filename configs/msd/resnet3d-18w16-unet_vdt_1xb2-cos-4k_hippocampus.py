# The same from the CIFAR-size VDT checkpoint of configs/imagenet_pretrain, with the batch norms it was trained with.
_base_ = "resnet3d-18w16-unet_scratch_1xb2-cos-4k_hippocampus.py"
norm_cfg = dict(_delete_=True, type="SyncBN")
model = dict(backbone=dict(norm_cfg=norm_cfg), neck=dict(norm_cfg=norm_cfg))
load_from = "work_dirs/resnet3d-18w16_vdt_1xb64-cos-48e_cifar10/epoch_48.pth"
