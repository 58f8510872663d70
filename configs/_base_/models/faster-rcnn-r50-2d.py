# A 2D ResNet-50, whose three input channels are slices, and Faster R-CNN; batch norms keep ImageNet's statistics.
model = dict(
    type="FasterRCNN3D",
    data_preprocessor=dict(pad_to=32),
    backbone=dict(type="ResNet", depth=50, norm_eval=True),
)
