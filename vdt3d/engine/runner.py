"""Our runner: mmengine's, made safe (nothing unpickled), exact (resume equals no stop), quiet, on any device."""

import logging
import os
import platform
import warnings
from collections import defaultdict
from inspect import signature
from itertools import count
from pathlib import Path
from typing import Any

import mmengine
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper, _ParamScheduler
from mmengine.runner import IterBasedTrainLoop as MMIterBasedTrainLoop
from mmengine.runner import LogProcessor
from mmengine.runner import Runner as MMRunner
from mmengine.runner.base_loop import BaseLoop
from mmengine.visualization import Visualizer
from mmpretrain.models.classifiers import BaseClassifier
from torch import nn
from torch.utils.data import DataLoader

import vdt3d
from vdt3d.engine.checkpointed_runner import CheckpointedRunner
from vdt3d.engine.config import resolve_config
from vdt3d.engine.config_names import check_names, run_settings
from vdt3d.engine.data import build_dataloader, require_two_classes, same_classes
from vdt3d.engine.distributed import distribute, init_distributed
from vdt3d.engine.hooks.checkpoint import PreemptionHook
from vdt3d.engine.hooks.test_notes import TestNotesHook
from vdt3d.engine.log_processor import ScoreLogProcessor
from vdt3d.engine.loops import ValLoop
from vdt3d.engine.monitored import check_hooks, check_monitored
from vdt3d.engine.optimizer_groups import scale_learning_rates
from vdt3d.engine.plain_config import config_to_write, plain_config
from vdt3d.engine.schedules import count_as_run
from vdt3d.engine.score_rules import metric_configs, with_rules
from vdt3d.engine.validation import check_settings
from vdt3d.engine.wandb_run import continue_wandb_run, keep_wandb_run
from vdt3d.engine.work_dir import claim_together, make_log_dir
from vdt3d.registry import LOOPS, RUNNERS
from vdt3d.utils.config_errors import config_errors
from vdt3d.utils.files import write_aside
from vdt3d.utils.memory_format import to_channels_last

_STARTED: defaultdict[str, count] = defaultdict(count)  # runs of this process by the second they began in


@RUNNERS.register_module()
class Runner(CheckpointedRunner):
    """Trains, validates and tests what a config describes.

    Keys of the config beside mmengine's:
        resume: True to go on from the work directory's last checkpoint, if there is one; or the path of one.
        inflate: 'i3d' or 'centre': how the 2D kernels of a ``load_from`` file fill the model's 3D ones.
        min_matched: least share of learnable numbers (heads excluded) that a ``load_from`` file must fill.
        channels_last: keep convolution weights in the channels-last order (faster on many devices).
        compile: True, or torch.compile's arguments, to compile the backbone.
        overwrite: delete the run that the work directory contains; without it and ``resume``, ``train`` refuses that.

    Raises:
        ValueError: a value of the config that no config file can contain, or ``model_wrapper_cfg``.
    """

    def __init__(self, *args, cfg: Config | dict | None = None, **kwargs):
        self._classes: tuple[str, ...] = ()
        cfg = plain_config(cfg or {})
        self._overwrite = bool(cfg.get("overwrite"))
        check_settings({**cfg, **signature(MMRunner).bind(*args, **kwargs).arguments})
        with config_errors():
            super().__init__(*args, cfg=config_to_write(cfg), **kwargs)
        for handler, level in self._screen_levels:
            handler.setLevel(level)

    @classmethod
    def from_cfg(cls, cfg: Config | dict) -> "Runner":
        """Build a runner from a config; NumPy values, paths and classes in it become plain values.

        What the config file names for its own use is left out.

        Raises:
            ValueError: a name at the top level that no run reads, or as the constructor.
        """
        file = getattr(cfg, "filename", None)
        if file is None or Path(file).is_file():
            check_names(cfg, None if file is None else Path(file))
        cfg, settings = plain_config(resolve_config(cfg if isinstance(cfg, Config) else Config(cfg))), run_settings()
        for name in set(cfg) - settings:
            cfg.pop(name)
        return super().from_cfg(cfg)

    # ---- the surroundings ----

    def setup_env(self, env_cfg: dict) -> None:
        if self.distributed:
            for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
                os.environ.setdefault(name, "1")  # what mmengine would set, with a warning
        if self.distributed and not torch.distributed.is_initialized():
            settings = env_cfg.get("dist_cfg", {})  # its backend is not asked: that follows the device
            init_distributed(self.launcher, settings.get("timeout", 1800))
        if torch.cuda.is_available() and torch.__version__.startswith("2.9."):
            warnings.warn("torch 2.9 runs 3D convolutions about 4 times slower under AMP; take another", stacklevel=2)
        super().setup_env(env_cfg)
        # mmengine names logs, and what the process remembers of a run, by the second in which the run began.
        self._timestamp = make_log_dir(Path(self.work_dir), self._timestamp, _STARTED[self._timestamp])

    def build_logger(self, *args, **kwargs) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        # What the constructor has to say goes to the file alone.
        screens = [handler for handler in logger.handlers if not isinstance(handler, logging.FileHandler)]
        self._screen_levels = [(handler, handler.level) for handler in screens]
        for handler in screens:
            handler.setLevel(max(handler.level, logging.WARNING))
        return logger

    def build_dataloader(self, dataloader: dict | DataLoader, seed: int | None = None, **_) -> DataLoader:
        if isinstance(dataloader, DataLoader):
            return dataloader
        loader = build_dataloader(**dataloader, seed=self.seed)
        self._classes = same_classes(self._classes, loader.dataset, self.bare_model)
        return loader

    def build_train_loop(self, loop: dict | BaseLoop) -> BaseLoop:
        if isinstance(loop, BaseLoop):
            return loop
        loop = dict(loop)
        if "type" not in loop:
            loop["type"] = "EpochBasedTrainLoop" if loop.pop("by_epoch", True) else "IterBasedTrainLoop"
        built = LOOPS.build(loop, default_args={"runner": self, "dataloader": self._train_dataloader})
        if isinstance(self.bare_model, BaseClassifier):
            require_two_classes(built.dataloader.dataset)
        check_hooks(self.hooks, built, self._val_loop is not None)
        if self._val_loop is None:
            check_monitored(self.hooks, None, None)
        return built

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        if (auto_scale_lr or {}).get("enable"):
            loader = self._train_dataloader
            batch = loader.batch_size if isinstance(loader, DataLoader) else loader["batch_size"]
            scale_learning_rates(optim_wrapper, auto_scale_lr, self.world_size * batch)

    def _build_param_scheduler(
        self, scheduler: _ParamScheduler | dict | list, optim_wrapper: OptimWrapper
    ) -> list[_ParamScheduler]:
        return super()._build_param_scheduler(count_as_run(scheduler, self.by_iterations), optim_wrapper)

    def build_log_processor(self, log_processor: dict | LogProcessor) -> LogProcessor:
        if isinstance(log_processor, dict):
            log_processor = {"type": ScoreLogProcessor, "by_epoch": not self.by_iterations, **log_processor}
        return super().build_log_processor(log_processor)

    def register_default_hooks(self, hooks: dict | None = None) -> None:
        counting = {"logger": "log_metric_by_epoch", "checkpoint": "by_epoch"}
        mmengines = ("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint")
        hooks = {
            name: {counting[name]: not self.by_iterations, **hook}
            if name in counting and isinstance(hook, dict)
            else hook
            for name, hook in (hooks or {}).items()
            if hook is not None or name in mmengines  # which mmengine adds by itself unless they are None
        }
        super().register_default_hooks(hooks)
        self.register_hook(TestNotesHook())

    def register_custom_hooks(self, hooks: list[Hook | dict]) -> None:
        super().register_custom_hooks(with_rules(hooks, self._val_evaluator, only=("EarlyStoppingHook",)))

    def build_param_scheduler(self, scheduler: Any) -> Any:
        return super().build_param_scheduler(with_rules(scheduler, self._val_evaluator))

    @property
    def by_iterations(self) -> bool:
        """Whether the run counts iterations, as its logs and checkpoints then do."""
        loop = self._train_loop
        if isinstance(loop, dict):
            return loop.get("type") == "IterBasedTrainLoop" or not loop.get("by_epoch", True)
        return isinstance(loop, MMIterBasedTrainLoop)

    def build_val_loop(self, loop: dict | BaseLoop) -> BaseLoop:
        built = super().build_val_loop({"type": ValLoop, **loop} if isinstance(loop, dict) else loop)
        schedulers = self.param_schedulers if isinstance(self.param_schedulers, list) else []
        followers = [*self.hooks, *schedulers] if self.training else []
        classes = getattr(getattr(self.bare_model, "head", None), "num_classes", None)
        check_monitored(followers, built.evaluator.metrics, classes)
        return built

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        if model_wrapper_cfg is not None:
            raise ValueError(
                f"model_wrapper_cfg={model_wrapper_cfg} is not supported: models are distributed by "
                "MMDistributedDataParallel; remove it (find_unused_parameters=True is a setting of its own)"
            )
        model = model.to(get_device())
        if self.cfg.get("channels_last"):
            to_channels_last(model)
        return distribute(model, self.distributed, find_unused_parameters=self.cfg.get("find_unused_parameters", False))

    def build_visualizer(self, visualizer: Visualizer | dict | None = None) -> Visualizer:
        if isinstance(visualizer, dict) and self.cfg.get("resume"):
            visualizer = continue_wandb_run(visualizer, Path(self.work_dir))
        return super().build_visualizer(visualizer)

    def build_evaluator(self, evaluator: dict | list | Evaluator) -> Evaluator:
        if isinstance(evaluator, Evaluator):
            return evaluator
        # "gpu" is mmengine's word for gathering through the process group, on any device; by default it writes pickle
        # files into the working folder, which the nodes of a job need not share.
        return super().build_evaluator([{"collect_device": "gpu", **metric} for metric in metric_configs(evaluator)])

    def _log_env(self, env_cfg: dict) -> None:
        self.logger.info(
            f"vdt3d {vdt3d.__version__}, torch {torch.__version__}, mmengine {mmengine.__version__}, "
            f"Python {platform.python_version()}; {self.world_size} x {get_device()}, seed {self.seed}"
        )

    def _init_model_weights(self) -> None:
        self.bare_model._dump_init_info = lambda: None  # a paragraph per parameter would bury the log
        super()._init_model_weights()

    def _maybe_compile(self, target: str) -> None:
        if settings := self.cfg.get("compile"):
            # The backbone is where the time goes; around it, samples and losses would break the graph.
            getattr(self.bare_model, "backbone", self.bare_model).compile(**({} if settings is True else settings))

    def train(self) -> nn.Module:
        """Train the model; the work directory belongs to this run until it ends.

        Raises:
            WorkDirError: another run holds the work directory, or a run in it would be overwritten.
        """
        work_dir = Path(self.work_dir)
        with claim_together(work_dir, Path(self._log_dir), resume=self._resume, overwrite=self._overwrite):
            self._keep_config()
            if is_main_process():
                keep_wandb_run(self.visualizer, work_dir)
            return self._train()

    def _keep_config(self, *, replace: bool = True) -> None:
        path = Path(self.work_dir, Path(self.cfg.filename or f"{self.timestamp}.py").name)
        if is_main_process() and (replace or not path.exists()):
            text = self.config_text
            write_aside(path, lambda aside: aside.write_text(text, encoding="utf-8"))

    def dump_config(self) -> None:
        """Write nothing yet: ``train`` and ``test`` write the config, once the work directory belongs to the run."""

    def _train(self) -> nn.Module:
        try:
            with config_errors():
                return super().train()
        finally:
            self._dismiss_workers()
            for hook in self.hooks:
                if isinstance(hook, PreemptionHook):  # after an error too, or SIGTERM would be lost from now on
                    hook.release()

    def _dismiss_workers(self) -> None:
        """End persistent workers now: the garbage collector, which finds them in a cycle, waits for them in vain."""
        for loop in (self._train_loop, self._val_loop, self._test_loop):
            if isinstance(loop, BaseLoop):
                loop.dataloader._iterator = None

    def val(self) -> dict:
        with config_errors():
            return super().val()

    def test(self) -> dict:
        """Test; a metric with ``threshold='val'`` gets the one chosen on the validation split, never on this one."""
        waiting = [metric for metric in metric_configs(self._test_evaluator) if metric.get("threshold") == "val"]
        if waiting:
            scores = self.val()
            if "threshold" not in scores:
                raise ValueError("a test with threshold='val' wants a val_evaluator with threshold='choose'")
            for metric in waiting:
                metric["threshold"] = scores["threshold"]
        self._keep_config(replace=False)  # that of a training stays
        try:
            with config_errors():
                return super().test()
        finally:
            self._dismiss_workers()
