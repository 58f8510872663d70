# Dropout behind the global pooling, where few features meet a dense layer.
_base_ = "../debug/classify.py"
custom_hooks = [dict(type="InsertHook", layers=[dict(after="neck", type="Dropout", drop_prob=0.5)])]
