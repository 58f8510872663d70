# P3D18 of basic blocks, the network of the VDT paper; from VDT weights: --cfg-options load_from=FILE.
_base_ = "p3d.py"
model = dict(backbone=dict(depth="18ba"))
