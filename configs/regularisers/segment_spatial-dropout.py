# Spatial dropout: whole channels of the deepest feature map are left out.
_base_ = "../debug/segment.py"
custom_hooks = [dict(type="InsertHook", layers=[dict(after="backbone.layer4", type="SpatialDropout", drop_prob=0.2)])]
