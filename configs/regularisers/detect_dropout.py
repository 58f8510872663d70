# Dropout within the dense layers that read what was pooled of each proposal.
_base_ = "../debug/detect.py"
custom_hooks = [dict(type="InsertHook", layers=[dict(after="roi_heads.box_head.fc*", type="Dropout", drop_prob=0.3)])]
