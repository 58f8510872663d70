# The same from VDT weights: the released file, or a checkpoint of configs/imagenet_pretrain.
_base_ = "resnet3d-18-fcn_scratch_8xb4-poly-13k_lidc-seg.py"
init = "vdt"
