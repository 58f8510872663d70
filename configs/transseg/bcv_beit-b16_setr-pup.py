# TransSeg with SETR's progressive upsampling of the last map as decoder.
_base_ = "./bcv_beit-b16_upernet.py"
model = dict(backbone=dict(out_indices=(11,)), neck=None, decode_head=dict(_delete_=True, type="PUPHead"))
