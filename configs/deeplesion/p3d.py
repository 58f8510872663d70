# P3D63 with Faster R-CNN on DeepLesion: the published recipe and its five scales, the original release's path.
# The release starts from weights learnt on COCO: --cfg-options load_from=FILE. Written for 8 processes, with --amp.
_base_ = [
    "../_base_/models/faster-rcnn-p3d63.py",
    "../_base_/datasets/deeplesion.py",
    "../_base_/schedules/lesions_step_24e.py",
    "../_base_/default_runtime.py",
]
default_hooks = dict(checkpoint=dict(save_best="froc_to_4"))
