"""What WatchHook costs at its default sampling: steps with a look at the network beside those without, in one run.

Prints one line of json; ``ratio`` is the mean time of a step over that of a step without a look (the aim: at most
1.03).
"""

import argparse
import json
import statistics
import tempfile
import time

import torch
from mmengine.hooks import Hook
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset

from vdt3d.engine import Runner
from vdt3d.registry import DATASETS, HOOKS

INTERVAL = 50  # the hook's default
MODEL = dict(
    type="VolumeClassifier",
    backbone=dict(type="ResNet3D", depth=18, base_channels=16, depth_stride=True),
    neck=dict(type="GlobalAveragePooling", dim=3),
    head=dict(type="LinearClsHead", num_classes=2),
)


@DATASETS.register_module()
class OneCube(Dataset):
    """``length`` times the same volume (1, size, size, size)."""

    def __init__(self, length: int, size: int):
        self.length = length
        self.sample = {"inputs": torch.rand(1, size, size, size), "data_samples": DataSample().set_gt_label(1)}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        return self.sample


@HOOKS.register_module()
class ClockHook(Hook):
    """Keeps the seconds of every step, the hooks' work included."""

    priority = "LOWEST"
    seconds: list[float] = []

    def before_train_epoch(self, runner: Runner) -> None:
        self.last = time.perf_counter()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self.last)
        self.last = now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--looks", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--size", type=int, default=48, help="voxels along a side")
    args = parser.parse_args()
    steps = args.looks * INTERVAL
    with tempfile.TemporaryDirectory() as folder:
        backends = [dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")]
        runner = Runner(
            default_scope="vdt3d",
            work_dir=folder,
            model=MODEL,
            train_dataloader=dict(
                dataset=dict(type="OneCube", length=steps * args.batch_size, size=args.size),
                sampler=dict(type="DefaultSampler"),
                batch_size=args.batch_size,
            ),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=dict(optimizer=dict(type="AdamW", lr=1e-3)),
            default_hooks=dict(checkpoint=None, logger=None),
            custom_hooks=[dict(type="WatchHook"), dict(type="ClockHook")],
            visualizer=dict(type="Visualizer", vis_backends=backends),
            randomness=dict(seed=0),
            log_level="WARNING",
            cfg={},
        )
        runner.train()
        runner.visualizer.close()  # TensorBoard would write into the folder when all ends
    seconds = ClockHook.seconds
    looks = [time for number, time in enumerate(seconds, start=1) if number % INTERVAL == 0]
    plain = statistics.median(time for number, time in enumerate(seconds, start=1) if number % INTERVAL)
    look = statistics.median(looks)
    ratio = ((INTERVAL - 1) * plain + look) / (INTERVAL * plain)
    print(json.dumps({"ratio": round(ratio, 4), "step_s": round(plain, 4), "step_with_a_look_s": round(look, 4)}))


if __name__ == "__main__":
    main()
