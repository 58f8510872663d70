# The 2D baseline without neighbours: the key slice alone, in which balls and tubes are the same discs.
_base_ = "./detect_2d.py"
window = dict(slices=1, spacing=2.5)
model = dict(backbone=dict(in_channels=1))
