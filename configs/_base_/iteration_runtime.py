# The default runtime of runs whose length is told in iterations: checkpoints, logs and curves count these.
_base_ = "default_runtime.py"
default_hooks = dict(checkpoint=dict(by_epoch=False), logger=dict(log_metric_by_epoch=False))
log_processor = dict(by_epoch=False)
