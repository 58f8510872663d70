# The published recipe: SGD 0.02, divided by ten at epochs 16 and 22, 500 steps of warm-up, for 8 x 2 windows a step.
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=1e-4), clip_grad=dict(max_norm=35))
param_scheduler = [
    dict(type="LinearLR", start_factor=1 / 3, by_epoch=False, begin=0, end=500),
    dict(type="MultiStepLR", milestones=[16, 22], gamma=0.1, by_epoch=True),
]
train_cfg = dict(by_epoch=True, max_epochs=24)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=16)
