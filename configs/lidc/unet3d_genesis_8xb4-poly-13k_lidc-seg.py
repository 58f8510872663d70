# The U-Net of Models Genesis from its weights, at the learning rate the release gives it.
_base_ = [
    "../_base_/models/unet3d-genesis.py",
    "../_base_/datasets/lidc-seg.py",
    "../_base_/schedules/lidc-seg_poly_13k.py",
    "../_base_/default_runtime.py",
]
model = dict(
    backbone=dict(num_classes=2),
    decode_head=dict(loss_decode=dict(type="CombineLoss")),
    test_cfg=dict(inferer=dict(type="WholeVolume")),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
channels_last = True
default_hooks = dict(checkpoint=dict(interval=1338, save_best="dice"), logger=dict(interval=100))
load_from = "zoo:genesis-chest-ct"
