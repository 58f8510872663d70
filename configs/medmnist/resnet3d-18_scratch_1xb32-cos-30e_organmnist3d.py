# The other five sets differ by name and number of classes, as here OrganMNIST3D with its eleven.
_base_ = "resnet3d-18w16_scratch_1xb32-cos-30e_adrenalmnist3d.py"
name = "organmnist3d"
model = dict(backbone=dict(base_channels=64), head=dict(num_classes=11))
train_dataloader = dict(dataset=dict(name=name))
val_dataloader = dict(dataset=dict(name=name))
test_dataloader = dict(dataset=dict(name=name))
val_evaluator = dict(_delete_=True, type="ClassificationScores")
test_evaluator = dict(_delete_=True, type="ClassificationScores", resamples=1000)
inits = init = None  # the weights of the table are for another width
