# The same from scratch.
_base_ = "resnet3d-18-unet_vdt_1xb4-poly-40k_acdc.py"
load_from = None
