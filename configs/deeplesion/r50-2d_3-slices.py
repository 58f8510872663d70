# The 2D baseline: ResNet-50 of ImageNet, to which three slices are the colours.
_base_ = [
    "../_base_/models/faster-rcnn-r50-2d.py",
    "../_base_/datasets/deeplesion.py",
    "../_base_/schedules/lesions_step_24e.py",
    "../_base_/default_runtime.py",
]
window = dict(slices=3, spacing=2.5)
load_from = "torchvision://resnet50"
default_hooks = dict(checkpoint=dict(save_best="froc_to_4"))
