# The same from a ResNet3D-18 trained on videos (Kinetics-700 and Moments in Time); colours are summed.
_base_ = "resnet3d-18-unet_scratch_8xb2-poly-3k_lits.py"
load_from = "zoo:kinetics-r3d-18-km"
