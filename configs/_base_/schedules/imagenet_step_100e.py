# The plain recipe of the release: SGD 0.1, divided by ten at epochs 30, 60 and 90, for 8 x 32 pictures a step.
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-4))
param_scheduler = dict(type="MultiStepLR", milestones=[30, 60, 90], gamma=0.1, by_epoch=True)
train_cfg = dict(by_epoch=True, max_epochs=100)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=256)
