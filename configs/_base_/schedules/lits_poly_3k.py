# The published recipe: Adam 1e-4, polynomial decay, 3,281 steps of 16 patches (500 passes over 105 scans).
optim_wrapper = dict(optimizer=dict(type="Adam", lr=1e-4, weight_decay=1e-4))
param_scheduler = dict(type="PolyLR", power=0.9, eta_min=1e-6, by_epoch=False)
train_cfg = dict(by_epoch=False, max_iters=3281, val_interval=656)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=16)
