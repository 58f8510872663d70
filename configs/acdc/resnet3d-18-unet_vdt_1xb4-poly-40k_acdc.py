# StdUNet from VDT weights on ACDC; nothing strides along depth, since slices are few and far apart.
_base_ = [
    "../_base_/models/resnet3d-18-unet.py",
    "../_base_/datasets/acdc.py",
    "../_base_/schedules/seg_poly_40k.py",
    "../_base_/inits/resnet3d-18.py",
    "../_base_/default_runtime.py",
]
model = dict(
    backbone=dict(depth_stride=False),
    decode_head=dict(num_classes=4),
    test_cfg=dict(inferer=dict(type="SlidingWindow", window=(12, 224, 224), flips="HW")),
)
channels_last = True
default_hooks = dict(checkpoint=dict(interval=4000, save_best="dice"), logger=dict(interval=100))
init = "vdt"
