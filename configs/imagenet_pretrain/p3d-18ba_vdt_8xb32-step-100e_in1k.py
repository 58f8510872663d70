# The same at depth 18, of basic blocks; not run here.
_base_ = "p3d-63_vdt_8xb32-step-100e_in1k.py"
model = dict(backbone=dict(depth="18ba"))
