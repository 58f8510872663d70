# AdamW 3e-4 with a cosine, 40,000 steps of 16 windows, half precision where the device has it, averaged weights.
optim_wrapper = dict(
    type="AmpOptimWrapper", optimizer=dict(type="AdamW", lr=3e-4, weight_decay=0.01), clip_grad=dict(max_norm=12)
)
param_scheduler = dict(type="CosineAnnealingLR", by_epoch=False)
train_cfg = dict(by_epoch=False, max_iters=40000, val_interval=4000)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=16)
channels_last = True
custom_hooks = [dict(type="EMAHook", ema_type="ExponentialMovingAverage", momentum=0.002, priority="NORMAL")]
