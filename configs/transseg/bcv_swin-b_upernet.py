# TransSeg on Swin-B of ImageNet-22k, whose maps are a pyramid by themselves.
_base_ = "./bcv_beit-b16_upernet.py"
model = dict(backbone=dict(_delete_=True, type="Swin3D"), neck=None, decode_head=dict(channels=512))
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(_delete_=True, relative_position_bias_table=dict(decay_mult=0.0)))
)
weights = "zoo:swin-base-in22k"
inits = dict(
    _delete_=True,
    scratch=dict(load_from=None),
    centre=dict(load_from=weights, inflate="centre"),
    i3d=dict(load_from=weights, inflate="i3d"),
)
