# Normal noise on what the network is fed, in units of the normalised image.
_base_ = "../debug/classify.py"
custom_hooks = [dict(type="InsertHook", layers=[dict(before="backbone", type="GaussianNoise", std=0.1)])]
