# The nodule classifier of classify.py as the arms of a comparison have it, from random weights.
_base_ = "classify.py"
default_hooks = dict(checkpoint=dict(save_best="auc"))
