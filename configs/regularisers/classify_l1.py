# An L1 penalty on the weights of the backbone: many of them become nearly zero.
_base_ = "../debug/classify.py"
custom_hooks = [dict(type="PenaltyHook", norm=1, scale=1e-5, weights="backbone.*")]
