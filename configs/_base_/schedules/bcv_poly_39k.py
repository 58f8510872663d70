# The published recipe: SGD 0.02, polynomial decay, 39,000 steps of 8 patches (13,000 passes over 24 scans).
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=5e-4))
param_scheduler = dict(type="PolyLR", power=0.9, eta_min=1e-6, by_epoch=False)  # ends where the run ends
train_cfg = dict(by_epoch=False, max_iters=39000, val_interval=3900)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=8)
