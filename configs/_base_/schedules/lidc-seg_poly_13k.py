# The published recipe: Adam 1e-3, polynomial decay, 13,387 steps of 32 crops (200 passes over 2,142 nodules).
optim_wrapper = dict(optimizer=dict(type="Adam", lr=1e-3, weight_decay=1e-4))
param_scheduler = dict(type="PolyLR", power=0.9, eta_min=1e-6, by_epoch=False)
train_cfg = dict(by_epoch=False, max_iters=13387, val_interval=1338)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=32)
