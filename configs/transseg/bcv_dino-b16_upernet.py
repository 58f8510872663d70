# TransSeg on ViT-B/16 of DINO, self-supervised on ImageNet-1k.
_base_ = "./bcv_beit-b16_upernet.py"
model = dict(backbone=dict(type="ViT3D"))
load_from = "zoo:dino-vit-base"
