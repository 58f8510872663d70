# The nodule classifier of classify.py for comparisons: from scratch, or from what debug/pretrain.py learnt.
_base_ = "classify.py"
inits = dict(scratch=dict(load_from=None), vdt=dict(load_from="work_dirs/pretrain/epoch_10.pth"))
init = "scratch"
default_hooks = dict(checkpoint=dict(save_best="auc"))
