# Mixup: each volume is faded with another one, and so is its label.
_base_ = "../debug/classify.py"
model = dict(train_cfg=dict(augments=dict(type="Mixup", alpha=0.2)))
