"""A run of seconds: a tiny data set, a tiny network with dropout and norms, and the config that joins them."""

import os
import signal
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.model import BaseModule
from mmpretrain.structures import DataSample
from torch import Tensor, nn

import vdt3d.datasets
import vdt3d.evaluation
import vdt3d.models
import vdt3d.transforms  # noqa: F401
from vdt3d.engine import Runner
from vdt3d.registry import DATASETS, HOOKS, MODELS
from vdt3d.utils.random import stream


@DATASETS.register_module()
class TinyVolumes(BaseDataset):
    """``length`` volumes (1, 4, 6, 6) of two classes, with noise from every source of chance a pipeline may use."""

    METAINFO = {"classes": ("dark", "bright")}

    def __init__(self, length: int = 8, noise: float = 0.1, **kwargs):
        self.length, self.noise = length, noise
        super().__init__(serialize_data=False, **kwargs)

    def load_data_list(self) -> list[dict]:
        return [{"index": index, "gt_label": index % 2} for index in range(self.length)]

    def prepare_data(self, idx: int) -> dict:
        volume = np.random.default_rng(idx).normal(size=(1, 4, 6, 6)) + idx % 2
        chance = stream("noise").normal(size=volume.shape) + np.random.normal() + torch.randn(1).item()
        sample = DataSample(metainfo={"sample_name": f"case {idx}"}).set_gt_label(idx % 2)
        return {"inputs": torch.tensor(volume + self.noise * chance, dtype=torch.float32), "data_samples": sample}

    def targets(self) -> np.ndarray:
        return np.arange(self.length) % 2


@MODELS.register_module()
class TinyBackbone(BaseModule):
    """A strided convolution, a norm and dropout."""

    def __init__(self, norm: str = "BN", init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.conv = nn.Conv3d(1, 8, 3, stride=2, padding=1)
        norms = {"BN": nn.BatchNorm3d, "SyncBN": nn.SyncBatchNorm, "GN": lambda width: nn.GroupNorm(2, width)}
        self.norm = norms[norm](8)
        self.dropout = nn.Dropout(0.0 if norm == "GN" else 0.2)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.dropout(self.norm(self.conv(x)).relu()),)


@HOOKS.register_module()
class SignalHook(Hook):
    """Sends this process (or its whole group) a signal in the middle of iteration ``at``."""

    def __init__(self, at: int, name: str, group: bool = False):
        self.at, self.signal, self.group = at, signal.Signals[name], group

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        if runner.iter != self.at:
            return
        if not self.group:
            os.kill(os.getpid(), self.signal)
            return
        sender = os.fork()  # as from a scheduler, the signal must not come from the main process
        if sender == 0:
            os.killpg(0, self.signal)
            os._exit(0)
        os.waitpid(sender, 0)


@HOOKS.register_module()
class TraceHook(Hook):
    """Appends the learning rate of every iteration to ``rates.txt``."""

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        with Path(runner.work_dir, "rates.txt").open("a") as file:
            file.write(f"{runner.iter} {runner.optim_wrapper.param_groups[0]['lr']!r}\n")


def loader(train: bool, length: int, batch_size: int, workers: int) -> dict:
    return dict(
        dataset=dict(type="TinyVolumes", length=length, noise=0.1 if train else 0.0, test_mode=not train),
        sampler=dict(type="DefaultSampler", shuffle=train),
        batch_size=batch_size,
        num_workers=workers,
    )


def config(
    work_dir: Path,
    *,
    epochs: int = 4,
    iterations: int | None = None,
    workers: int = 0,
    length: int = 8,
    batch_size: int = 2,
    norm: str = "BN",
    ema: bool = False,
    hooks: tuple[dict, ...] = (),
    **changes,
) -> Config:
    """Four iterations an epoch; a validation after each; ``changes`` replace whole settings."""
    if iterations is None:
        train_cfg = dict(by_epoch=True, max_epochs=epochs)
    else:
        train_cfg = dict(by_epoch=False, max_iters=iterations, val_interval=4)
    settings = dict(
        default_scope="vdt3d",
        work_dir=str(work_dir),
        custom_imports=dict(imports=["tiny"]),
        model=dict(
            type="VolumeClassifier",
            backbone=dict(type="TinyBackbone", norm=norm),
            neck=dict(type="GlobalAveragePooling", dim=3),
            head=dict(type="LinearClsHead", num_classes=2, in_channels=8),
        ),
        train_dataloader=loader(True, length, batch_size, workers),
        val_dataloader=loader(False, 7, 2, 0),
        test_dataloader=loader(False, 7, 2, 0),
        train_cfg=train_cfg,
        val_cfg=dict(),
        test_cfg=dict(),
        val_evaluator=dict(type="ClassificationScores"),
        test_evaluator=dict(type="ClassificationScores"),
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.01)),
        param_scheduler=[dict(type="MultiStepLR", milestones=[1, 2], gamma=0.5)],
        default_hooks=dict(
            logger=dict(type="LoggerHook", interval=1),
            checkpoint=dict(type="CheckpointHook", interval=3 if iterations else 1),
            scores=dict(type="ScoresHook"),
            preemption=dict(type="PreemptionHook"),
            trace=dict(type="TraceHook"),
        ),
        custom_hooks=[*([dict(type="EMAHook", momentum=0.1)] if ema else []), *hooks],
        randomness=dict(seed=3, deterministic=True),
    )
    # To lay out its text, which a run does several times, would take longer than the run.
    return Config(settings | changes, format_python_code=False)


def train(cfg: Config, resume: bool | str = False) -> Runner:
    """Train in this process; ``resume`` from the last checkpoint or from the one it names."""
    cfg.resume = resume
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def saved(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def differences(a: object, b: object, where: str = "") -> list[str]:
    """Where two checkpoints differ; tensors must be equal bit by bit."""
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return [f"{where}: keys {sorted(map(str, a.keys() ^ b.keys()))}"]
        return [line for key in a for line in differences(a[key], b[key], f"{where}.{key}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [line for n, pair in enumerate(zip(a, b, strict=True)) for line in differences(*pair, f"{where}[{n}]")]
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    else:
        same = type(a) is type(b) and a == b
    return [] if same else [where]


# What a run consists of; the rest (times, versions, the config's text, logs) may differ between equal runs.
STATE = ("state_dict", "ema_state_dict", "optimizer", "param_schedulers", "processes")


def same_run(a: Path, b: Path) -> list[str]:
    """Where the states of two checkpoint files differ."""
    one, two = saved(a), saved(b)
    position = [{key: part["meta"][key] for key in ("epoch", "iter", "seed")} for part in (one, two)]
    return differences(*({k: part[k] for k in STATE if k in part} for part in (one, two))) + differences(*position)
