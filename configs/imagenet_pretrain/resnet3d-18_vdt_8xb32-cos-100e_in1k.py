# VDT pre-training of ResNet3D-18 on ImageNet-1k as released: cosine, label smoothing, channel shuffle.
# bash tools/dist_train.sh configs/imagenet_pretrain/resnet3d-18_vdt_8xb32-cos-100e_in1k.py 8 --amp
# The release names its files 73.17 and 73.45 % top-1 for this recipe; not re-run here.
_base_ = [
    "../_base_/models/resnet3d-18.py",
    "../_base_/datasets/imagenet_vdt.py",
    "../_base_/schedules/imagenet_cos_100e.py",
    "../_base_/default_runtime.py",
]
model = dict(head=dict(loss=dict(_delete_=True, type="LabelSmoothLoss", label_smooth_val=0.1, mode="original")))
