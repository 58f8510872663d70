# Initialisations of TransSeg's BEiT-B/16, whose first convolution takes the slices of a window in.
inits = dict(
    scratch=dict(load_from=None),
    # The kernel of a picture in the middle slice with zeros around it, so that training begins with the 2D network,
    centre=dict(load_from="zoo:beit-base-in22k", inflate="centre"),
    # or spread evenly over the slices.
    i3d=dict(load_from="zoo:beit-base-in22k", inflate="i3d"),
    # Self-supervised on ImageNet-22k, one table of positions for all blocks.
    ssl=dict(load_from="zoo:beit-base-in22k-ssl", inflate="centre"),
)
init = "centre"
