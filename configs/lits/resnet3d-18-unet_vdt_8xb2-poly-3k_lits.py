# The same from VDT weights: the released file, or a checkpoint of configs/imagenet_pretrain.
_base_ = "resnet3d-18-unet_scratch_8xb2-poly-3k_lits.py"
load_from = "pretrained/res3d18_imagenet_BN_73.07-5ff2ecb7.pth"
