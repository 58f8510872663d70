# The plain recipe at depth 50.
_base_ = "resnet3d-18_vdt_8xb32-step-100e_in1k.py"
model = dict(backbone=dict(depth=50))
