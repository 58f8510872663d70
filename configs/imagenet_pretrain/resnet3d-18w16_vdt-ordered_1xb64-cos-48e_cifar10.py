# The CIFAR-size VDT run without channel shuffle: the slices keep the order red, green, blue.
_base_ = "resnet3d-18w16_vdt_1xb64-cos-48e_cifar10.py"
train_pipeline = _base_.train_pipeline
train_pipeline[3].prob = 0.0
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
