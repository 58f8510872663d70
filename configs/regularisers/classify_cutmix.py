# CutMix: a box of each volume is that of another one; half of the batches stay as they are.
_base_ = "../debug/classify.py"
model = dict(train_cfg=dict(augments=dict(type="CutMix3D", alpha=1.0), probs=[0.5]))
