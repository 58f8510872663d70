# ConvNeXt-T with UPerNet in place of ResNet-34 with a U-Net.
_base_ = "./resnet34-unet-5x2_in1k_1xb16-cos-40k_gi-tract.py"
model = dict(
    backbone=dict(model="torchvision.convnext_tiny"),
    neck=None,
    decode_head=dict(_delete_=True, type="UPerHead", in_index=[0, 1, 2, 3], channels=256, norm_cfg=dict(type="SyncBN")),
)
load_from = "torchvision://convnext_tiny"
