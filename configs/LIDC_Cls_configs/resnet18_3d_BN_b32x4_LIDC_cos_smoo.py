# The original release's name for the LIDC-IDRI run, so that its command keeps working.
_base_ = "../lidc/resnet3d-18_vdt_4xb32-step-100e_lidc.py"
