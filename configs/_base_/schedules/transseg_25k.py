# TransSeg: AdamW 3e-5, warm for 20 steps, then straight to 0 in 25,000 steps of 16 windows, in single precision.
optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=3e-5, weight_decay=0.05),
    # Norms, biases, scales, tokens and positions (as BEiT names them) do not decay.
    paramwise_cfg=dict(
        flat_decay_mult=0.0,
        custom_keys={name: dict(decay_mult=0.0) for name in ("cls_token", "relative_position_bias_table")},
    ),
    clip_grad=dict(max_norm=1.0),
)
# As published: what has "bias" in its name does not decay, tables of positions included; norms do.
published_groups = dict(custom_keys=dict(bias=dict(decay_mult=0.0)))
param_scheduler = dict(type="LinearWarmupLR", warmup=20, by_epoch=False)
train_cfg = dict(by_epoch=False, max_iters=25000, val_interval=1000)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=16)
