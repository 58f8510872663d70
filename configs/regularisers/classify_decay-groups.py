# Weight decay of kernels alone: norms and biases are left where they are.
_base_ = "../debug/classify.py"
optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0))
