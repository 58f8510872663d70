# The same from what configs/debug/pretrain.py learnt on made-up pictures.
_base_ = "resnet3d_scratch_15e_nodules.py"
load_from = "work_dirs/pretrain/epoch_10.pth"
