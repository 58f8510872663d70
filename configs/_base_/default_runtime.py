# What every run shares: hooks, logs, seeds. A child says only what differs.
default_scope = "vdt3d"
runner_type = "vdt3d.Runner"  # for scripts that build a runner with mmengine.registry.RUNNERS
default_hooks = dict(
    runtime_info=dict(type="RuntimeInfoHook"),
    timer=dict(type="IterTimerHook"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    logger=dict(type="LoggerHook", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=3),
    scores=dict(type="ScoresHook"),
    record=dict(type="RunRecordHook"),
    non_finite=dict(type="NonFiniteHook"),
    report=dict(type="ReportHook"),
    progress=dict(type="ProgressHook"),
    preemption=dict(type="PreemptionHook"),
)
# To watch a run: custom_hooks = [dict(type="WatchHook"), dict(type="PicturesHook")].
# One more line here for Weights & Biases or MLflow: dict(type="WandbVisBackend"), dict(type="MLflowVisBackend").
visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")])
randomness = dict(seed=0, deterministic=False)
env_cfg = dict(cudnn_benchmark=True)
log_level = "INFO"
resume = False
