# Gradients are scaled down to a norm of 1 where they are larger.
_base_ = "../debug/segment.py"
optim_wrapper = dict(clip_grad=dict(max_norm=1.0))
