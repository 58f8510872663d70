# The released recipe at depth 50. The release names a file of this depth 77.50 % top-1; not re-run here.
_base_ = "resnet3d-18_vdt_8xb32-cos-100e_in1k.py"
model = dict(backbone=dict(depth=50))
