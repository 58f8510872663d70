# The recipe of the released config: SGD 0.1, cosine to zero by epochs, for 8 x 32 pictures a step.
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-4))
param_scheduler = dict(type="CosineAnnealingLR", eta_min=0, by_epoch=True)  # ends where the run ends
train_cfg = dict(by_epoch=True, max_epochs=100)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=256)
