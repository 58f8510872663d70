# P3D63 and Faster R-CNN with the numbers of MP3D's release, which are the defaults; a child sets the window.
model = dict(
    type="FasterRCNN3D",
    data_preprocessor=dict(pad_to=32),
    backbone=dict(type="P3D", depth=63),
)
