# TransSeg on ViT-B/16 of DINO, self-supervised on ImageNet-1k.
_base_ = "./bcv_beit-b16_upernet.py"
model = dict(backbone=dict(type="ViT3D"))
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(_delete_=True, cls_token=dict(decay_mult=0.0), pos_embed=dict(decay_mult=0.0)))
)
weights = "zoo:dino-vit-base"
inits = dict(
    _delete_=True,
    scratch=dict(load_from=None),
    centre=dict(load_from=weights, inflate="centre"),
    i3d=dict(load_from=weights, inflate="i3d"),
)
