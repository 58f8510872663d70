# A running average of the weights is validated, saved and tested.
_base_ = "../debug/classify.py"
custom_hooks = [dict(type="EMAHook", momentum=0.01)]
