# VDT pre-training by the plain recipe: step schedule, cross-entropy, no channel shuffle.
# The released file of 73.07 % top-1 was, by its name, trained so; not re-run here.
_base_ = [
    "../_base_/models/resnet3d-18.py",
    "../_base_/datasets/imagenet_vdt.py",
    "../_base_/schedules/imagenet_step_100e.py",
    "../_base_/default_runtime.py",
]
train_pipeline = _base_.train_pipeline
train_pipeline[3].prob = 0.0
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
