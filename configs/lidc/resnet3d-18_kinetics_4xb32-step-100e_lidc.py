# The same from a ResNet3D-18 trained on videos (Kinetics-700 and Moments in Time); colours are summed.
_base_ = "resnet3d-18_scratch_4xb32-step-100e_lidc.py"
load_from = "zoo:kinetics-r3d-18-km"
