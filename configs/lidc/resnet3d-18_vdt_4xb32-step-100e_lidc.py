# The same from VDT weights: the released file, or a checkpoint of configs/imagenet_pretrain.
_base_ = "resnet3d-18_scratch_4xb32-step-100e_lidc.py"
init = "vdt"
