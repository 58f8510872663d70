# TransSeg with UNETR's decoder, whose finest skip is the window itself.
_base_ = "./bcv_beit-b16_upernet.py"
model = dict(
    backbone=dict(out_indices=(3, 6, 9, 11), with_image=True),
    neck=None,
    decode_head=dict(_delete_=True, type="UNETRHead", in_index=(0, 1, 2, 3, 4)),
)
