# Stochastic weight averaging over the last five epochs, at a learning rate that stays high.
_base_ = "../debug/classify.py"
param_scheduler = dict(_delete_=True, type="CosineAnnealingLR", T_max=10, eta_min=1e-3, end=10, by_epoch=True)
custom_hooks = [dict(type="SWAHook", begin_epoch=11)]
