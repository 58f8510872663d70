"""What the runner adds to a bare training loop: both train the same network on the same batch, turn by turn.

Prints one line of json; ``ratio`` is the runner's time per step over the bare loop's (the aim: at most 1.05 for a step
of at least 0.2 s).
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator

import torch
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset

from vdt3d.engine import Runner
from vdt3d.registry import DATASETS

MODEL = dict(
    type="VolumeClassifier",
    backbone=dict(type="ResNet3D", depth=18, in_channels=1, base_channels=16),
    neck=dict(type="GlobalAveragePooling", dim=3),
    head=dict(type="LinearClsHead", num_classes=10),
)


@DATASETS.register_module()
class OneVolume(Dataset):
    """``length`` times the same volume (1, 3, size, size)."""

    def __init__(self, length: int, size: int):
        self.length = length
        self.sample = {"inputs": torch.rand(1, 3, size, size), "data_samples": DataSample().set_gt_label(1)}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        return self.sample


def runner_of(folder: str, steps: int, batch_size: int, size: int) -> Runner:
    """A runner with the hooks of ``configs/_base_/default_runtime.py``, one checkpoint at the end."""
    return Runner(
        default_scope="vdt3d",
        work_dir=folder,
        model=MODEL,
        train_dataloader=dict(
            dataset=dict(type="OneVolume", length=steps * batch_size, size=size),
            sampler=dict(type="DefaultSampler"),
            batch_size=batch_size,
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.01, momentum=0.9)),
        param_scheduler=dict(type="CosineAnnealingLR", by_epoch=True, convert_to_iter_based=True),
        default_hooks=dict(
            checkpoint=dict(type="CheckpointHook"),
            progress=dict(type="ProgressHook"),
            preemption=dict(type="PreemptionHook"),
        ),
        visualizer=dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")]),
        randomness=dict(seed=0),
        log_level="WARNING",
        cfg={},
    )


def bare_steps(model: torch.nn.Module, batch: dict) -> Iterator[float]:
    """Seconds of one training step after another, in plain torch."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    while True:
        start = time.perf_counter()
        data = model.data_preprocessor(batch, True)
        loss = model(**data, mode="loss")["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield time.perf_counter() - start


class TurnByTurn:
    """Wraps ``run_iter`` of a training loop: after each of its iterations comes a step of the bare loop."""

    def __init__(self, loop: object, bare: Iterator[float]):
        self.inner, self.bare, self.own, self.plain = loop.run_iter, bare, [], []
        loop.run_iter, self.ended = self, time.perf_counter()

    def __call__(self, index: int, batch: dict) -> None:
        self.inner(index, batch)
        self.own.append(time.perf_counter() - self.ended)  # from the end of the last turn: loading and hooks included
        self.plain.append(next(self.bare))
        self.ended = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--size", type=int, default=160, help="pixels along a side; larger makes a step longer")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runner = runner_of(folder, args.steps, args.batch_size, args.size)
        twin = type(runner.model)(**{key: value for key, value in MODEL.items() if key != "type"})
        twin.init_weights()
        runner._train_loop = runner.build_train_loop(runner._train_loop)
        samples = [runner.train_dataloader.dataset.dataset.sample] * args.batch_size
        batch = {key: [sample[key] for sample in samples] for key in samples[0]}
        turns = TurnByTurn(runner.train_loop, bare_steps(twin, batch))
        runner.train()
    own, plain = (statistics.median(times[3:]) for times in (turns.own, turns.plain))
    print(json.dumps({"ratio": round(own / plain, 3), "runner_s": round(own, 4), "bare_s": round(plain, 4)}))


if __name__ == "__main__":
    main()
