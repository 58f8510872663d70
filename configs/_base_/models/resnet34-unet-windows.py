# A U-Net on torchvision's ResNet-34 over windows of neighbouring slices (2.5D); a child says how many, and its classes.
norm_cfg = dict(type="SyncBN")
model = dict(
    type="SliceWindowSegmentor",
    backbone=dict(type="PictureEncoder", model="torchvision.resnet34"),
    neck=dict(type="PictureUNetNeck", norm_cfg=norm_cfg),
    decode_head=dict(type="FCNHead", channels=64, num_convs=1, concat_input=False, norm_cfg=norm_cfg),
    num_classes=2,
    test_cfg=dict(inferer=dict(type="SliceWindowInferer")),
)
