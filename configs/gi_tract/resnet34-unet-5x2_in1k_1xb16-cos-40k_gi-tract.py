# A ResNet-34 of ImageNet with a U-Net over five slices, every second one: 24 mm of context (2.5D).
_base_ = [
    "../_base_/models/resnet34-unet-windows.py",
    "../_base_/datasets/gi_tract.py",
    "../_base_/schedules/windows_cos_40k.py",
    "../_base_/default_runtime.py",
]
model = dict(
    num_classes=8,
    regions=dict(large_bowel=(1, 3, 5, 7), small_bowel=(2, 3, 6, 7), stomach=(4, 5, 6, 7)),
    loss_decode=[dict(type="CrossEntropyLoss3D"), dict(type="TverskyLoss3D", batch=True)],
    test_cfg=dict(inferer=dict(flips="W", post_process=[dict(type="remove_small", min_mm3=100, overlapping=True)])),
)
load_from = "torchvision://resnet34"
default_hooks = dict(checkpoint=dict(interval=4000, save_best="dice"), logger=dict(interval=100))
