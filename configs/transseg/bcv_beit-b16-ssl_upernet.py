# TransSeg from BEiT without labels: self-supervised on ImageNet-22k, one table of positions for all blocks.
_base_ = "./bcv_beit-b16_upernet.py"
load_from = "zoo:beit-base-in22k-ssl"
