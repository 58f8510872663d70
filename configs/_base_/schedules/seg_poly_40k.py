# SGD 0.01 with Nesterov momentum, polynomial decay, 40,000 steps of 4 patches.
optim_wrapper = dict(
    optimizer=dict(type="SGD", lr=0.01, momentum=0.99, nesterov=True, weight_decay=3e-5), clip_grad=dict(max_norm=12)
)
param_scheduler = dict(type="PolyLR", power=0.9, eta_min=0, by_epoch=False)
train_cfg = dict(by_epoch=False, max_iters=40000, val_interval=4000)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=4)
