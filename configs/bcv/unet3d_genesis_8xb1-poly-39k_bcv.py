# The U-Net of Models Genesis from its weights, with the same data, loss and schedule.
_base_ = [
    "../_base_/models/unet3d-genesis.py",
    "../_base_/datasets/btcv.py",
    "../_base_/schedules/bcv_poly_39k.py",
    "../_base_/default_runtime.py",
]
model = dict(
    backbone=dict(num_classes=14),
    decode_head=dict(loss_decode=dict(type="DiceCELoss3D", lambda_ce=0.3)),
    test_cfg=dict(inferer=dict(type="SlidingWindow", window=(32, 256, 256), stride=(12, 128, 128), weights="uniform")),
)
channels_last = True
default_hooks = dict(checkpoint=dict(interval=3900, save_best="dice"), logger=dict(interval=100))
load_from = "zoo:genesis-chest-ct"
