# An L2 penalty on the activations behind the last stage.
_base_ = "../debug/classify.py"
custom_hooks = [dict(type="PenaltyHook", norm=2, scale=1e-3, activations="backbone.layer4")]
