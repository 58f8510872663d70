# TransSeg on Video Swin-B of Kinetics-600, which keeps several tokens along depth: three for five slices.
_base_ = "./bcv_swin-b_upernet.py"
model = dict(backbone=dict(type="VideoSwin"))
inits = dict(_delete_=True, scratch=dict(load_from=None), kinetics=dict(load_from="zoo:video-swin-base-k600"))
init = "kinetics"
