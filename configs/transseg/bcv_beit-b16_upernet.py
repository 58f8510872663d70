# TransSeg on the 13 organs of BTCV (BCV): BEiT-B/16 of ImageNet-22k over windows of 5 slices, centred, and UPerNet.
_base_ = [
    "../_base_/models/beit-b16-upernet.py",
    "../_base_/datasets/transseg-btcv.py",
    "../_base_/schedules/transseg_25k.py",
    "../_base_/inits/beit-b16.py",
    "../_base_/default_runtime.py",
]
model = dict(num_classes=14)
default_hooks = dict(checkpoint=dict(interval=1000, save_best="dice"), logger=dict(interval=100))
