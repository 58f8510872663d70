# P3D63, which answers the key slice of 9, and Faster R-CNN with the numbers of MP3D's release (the defaults); no window.
model = dict(
    type="FasterRCNN3D",
    data_preprocessor=dict(pad_to=32),
    backbone=dict(type="P3D", depth=63),
)
