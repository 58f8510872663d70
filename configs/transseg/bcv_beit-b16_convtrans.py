# TransSeg with transposed convolutions over the last map as decoder.
_base_ = "./bcv_beit-b16_setr-pup.py"
model = dict(decode_head=dict(type="ConvTransHead"))
