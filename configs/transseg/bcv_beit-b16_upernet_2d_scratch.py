# TransSeg without transfer and depth ("w/o T&D").
_base_ = "./bcv_beit-b16_upernet_2d.py"
load_from = None
