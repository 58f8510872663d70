# Nodule segmentation on LIDC-IDRI crops from scratch: the published recipe with the corrected CombineLoss.
# bash tools/dist_train.sh configs/lidc/resnet3d-18-fcn_scratch_8xb4-poly-13k_lidc-seg.py 8 --amp
_base_ = [
    "../_base_/models/resnet3d-18-lidc-fcn.py",
    "../_base_/datasets/lidc-seg.py",
    "../_base_/schedules/lidc-seg_poly_13k.py",
    "../_base_/inits/resnet3d-18-or-genesis.py",
    "../_base_/default_runtime.py",
]
channels_last = True
default_hooks = dict(checkpoint=dict(interval=1338, save_best="dice"), logger=dict(interval=100))
inits = dict(
    genesis=dict(
        model=dict(backbone=dict(num_classes=2), decode_head=dict(loss_decode=dict(type="CombineLoss"))),
        optim_wrapper=dict(optimizer=dict(lr=1e-4)),  # the release gives it its own
    )
)
