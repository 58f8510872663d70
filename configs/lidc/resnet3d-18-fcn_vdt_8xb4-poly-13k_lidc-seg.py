# The same from VDT weights: the released file, or a checkpoint of configs/imagenet_pretrain.
_base_ = "resnet3d-18-fcn_scratch_8xb4-poly-13k_lidc-seg.py"
load_from = "pretrained/res3d18_imagenet_BN_73.07-5ff2ecb7.pth"
