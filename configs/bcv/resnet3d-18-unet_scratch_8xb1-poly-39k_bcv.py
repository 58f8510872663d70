# StdUNet from scratch on BCV: the published recipe; full resolution in the stem, as in every arm of the comparison.
# bash tools/dist_train.sh configs/bcv/resnet3d-18-unet_scratch_8xb1-poly-39k_bcv.py 8 --amp
_base_ = [
    "../_base_/models/resnet3d-18-unet.py",
    "../_base_/datasets/btcv.py",
    "../_base_/schedules/bcv_poly_39k.py",
    "../_base_/inits/resnet3d-18-or-genesis.py",
    "../_base_/default_runtime.py",
]
model = dict(
    decode_head=dict(num_classes=14, loss_decode=dict(type="DiceCELoss3D", lambda_ce=0.3)),
    test_cfg=dict(inferer=dict(type="SlidingWindow", window=(32, 256, 256), stride=(12, 128, 128), weights="uniform")),
)
channels_last = True
default_hooks = dict(checkpoint=dict(interval=3900, save_best="dice"), logger=dict(interval=100))
inits = dict(
    genesis=dict(
        model=dict(
            backbone=dict(num_classes=14), decode_head=dict(loss_decode=dict(type="DiceCELoss3D", lambda_ce=0.3))
        )
    )
)
