# EfficientNet-B4 in place of ResNet-34.
_base_ = "./resnet34-unet-5x2_in1k_1xb16-cos-40k_gi-tract.py"
model = dict(backbone=dict(model="torchvision.efficientnet_b4"))
load_from = "torchvision://efficientnet_b4"
