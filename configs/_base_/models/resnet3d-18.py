# 3D ResNet-18 of one input channel, a global pooling and a linear head.
model = dict(
    type="VolumeClassifier",
    backbone=dict(type="ResNet3D", depth=18, in_channels=1),
    neck=dict(type="GlobalAveragePooling", dim=3),
    head=dict(type="LinearClsHead", num_classes=1000, loss=dict(type="CrossEntropyLoss")),
)
