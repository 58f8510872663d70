# ResNet3D-18 from scratch on LIDC-IDRI nodules: the published recipe with isotropic strides.
# bash tools/dist_train.sh configs/lidc/resnet3d-18_scratch_4xb32-step-100e_lidc.py 4 --amp
_base_ = [
    "../_base_/models/resnet3d-18.py",
    "../_base_/datasets/lidc.py",
    "../_base_/schedules/lidc_step_100e.py",
    "../_base_/inits/resnet3d-18.py",
    "../_base_/default_runtime.py",
]
model = dict(backbone=dict(depth_stride=True), head=dict(num_classes=2))
channels_last = True
default_hooks = dict(checkpoint=dict(interval=10, save_best="auc"))
inits = dict(
    genesis=dict(  # the encoder of Models Genesis in the place of the ResNet3D-18
        model=dict(backbone=dict(_delete_=True, type="UNet3D", in_channels=1, decoder=False)),
        load_from="zoo:genesis-chest-ct",
    )
)
