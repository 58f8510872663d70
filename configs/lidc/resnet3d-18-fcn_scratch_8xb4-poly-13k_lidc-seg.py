# Nodule segmentation on LIDC-IDRI crops from scratch: the published recipe with the corrected CombineLoss.
# bash tools/dist_train.sh configs/lidc/resnet3d-18-fcn_scratch_8xb4-poly-13k_lidc-seg.py 8 --amp
_base_ = [
    "../_base_/models/resnet3d-18-lidc-fcn.py",
    "../_base_/datasets/lidc-seg.py",
    "../_base_/schedules/lidc-seg_poly_13k.py",
    "../_base_/default_runtime.py",
]
channels_last = True
default_hooks = dict(checkpoint=dict(interval=1338, save_best="dice"), logger=dict(interval=100))
