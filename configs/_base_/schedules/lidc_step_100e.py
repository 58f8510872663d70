# The published recipe: Adam 5e-4, divided by ten at epochs 30, 60 and 90, 50 steps of warm-up, for 4 x 32 crops a step.
optim_wrapper = dict(optimizer=dict(type="Adam", lr=5e-4, weight_decay=1e-4))
param_scheduler = [
    dict(type="ConstantLR", factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type="MultiStepLR", milestones=[30, 60, 90], gamma=0.1, by_epoch=True),
]
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=2)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=128)
