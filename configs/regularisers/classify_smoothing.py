# Label smoothing: no class is ever wanted with a probability of 1.
_base_ = "../debug/classify.py"
model = dict(head=dict(loss=dict(_delete_=True, type="LabelSmoothLoss", label_smooth_val=0.1)))
