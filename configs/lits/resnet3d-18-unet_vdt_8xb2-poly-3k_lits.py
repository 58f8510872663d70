# The same from VDT weights: the released file, or a checkpoint of configs/imagenet_pretrain.
_base_ = "resnet3d-18-unet_scratch_8xb2-poly-3k_lits.py"
init = "vdt"
