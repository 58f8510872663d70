# TransSeg with the first kernel spread evenly over the slices (I3D) instead of put into the middle one.
_base_ = "./bcv_beit-b16_upernet.py"
inflate = "i3d"
