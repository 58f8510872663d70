# StdUNet from scratch on the livers of LiTS, tumours counted as liver: published recipe, ComboLoss corrected.
# bash tools/dist_train.sh configs/lits/resnet3d-18-unet_scratch_8xb2-poly-3k_lits.py 8 --amp
_base_ = [
    "../_base_/models/resnet3d-18-unet.py",
    "../_base_/datasets/lits.py",
    "../_base_/schedules/lits_poly_3k.py",
    "../_base_/inits/resnet3d-18-or-genesis.py",
    "../_base_/default_runtime.py",
]
model = dict(
    decode_head=dict(label_map={2: 1}, loss_decode=dict(type="ComboLoss")),
    test_cfg=dict(
        inferer=dict(
            type="SlidingWindow",
            window=(32, 256, 256),
            stride=(12, 128, 128),
            weights="uniform",
            post_process=[dict(type="keep_largest", groups=[(1,)], connectivity=6)],
        )
    ),
)
val_evaluator = test_evaluator = dict(labels=dict(liver=[1, 2]))
channels_last = True
default_hooks = dict(checkpoint=dict(interval=656, save_best="dice"), logger=dict(interval=50))
inits = dict(
    genesis=dict(
        model=dict(backbone=dict(num_classes=2), decode_head=dict(label_map={2: 1}, loss_decode=dict(type="ComboLoss")))
    )
)
