# TransSeg on Video Swin-B of Kinetics-600, which keeps several tokens along depth: three for five slices.
_base_ = "./bcv_swin-b_upernet.py"
model = dict(backbone=dict(type="VideoSwin"))
load_from = "zoo:video-swin-base-k600"
inflate = None
