# TransSeg without transfer ("w/o T"): all weights start at random.
_base_ = "./bcv_beit-b16_upernet.py"
load_from = None
inflate = None
