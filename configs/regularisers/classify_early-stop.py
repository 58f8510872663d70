# The run ends when AUC has not grown for five validations.
_base_ = "../debug/classify.py"
default_hooks = dict(checkpoint=dict(save_best="auc"))
custom_hooks = [dict(type="EarlyStopHook", monitor="auc", patience=5)]
train_cfg = dict(max_epochs=50)
