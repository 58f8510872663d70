"""Runs for tests of reports: a test of each task, of seconds, with its report."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import overlapping
import tiny
import torch
from mmengine.logging import MMLogger

from vdt3d.engine import ReportHook, Runner
from vdt3d.evaluation import DetectionScores
from vdt3d.structures import Boxes, DetectionSample, affine_from_spacing
from vdt3d.transforms import Window

HOOKS = dict(scores=dict(type="ScoresHook"), record=dict(type="RunRecordHook"), report=dict(type="ReportHook"))


def segmentation(folder: Path, **report) -> dict[str, float]:
    """The scores of three cases of two organs that overlap."""
    hooks = HOOKS | {"report": dict(type="ReportHook", **report)}
    evaluator = dict(type="SegmentationScores", resamples=20)
    settings = overlapping.config(folder, default_hooks=hooks, test_evaluator=evaluator)
    settings.test_dataloader = settings.val_dataloader
    return Runner.from_cfg(settings).test()


def classification(folder: Path, **changes) -> dict[str, float]:
    """The scores of seven volumes, after an epoch of learning that is watched."""
    local = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])
    settings = tiny.config(folder, epochs=1, visualizer=local, **changes)
    settings.custom_hooks = [dict(type="WatchHook", interval=2), dict(type="PicturesHook")]
    settings.default_hooks.update(HOOKS)
    runner = Runner.from_cfg(settings)
    runner.train()
    return runner.test()


class Ramps:
    """What a data set of detection knows, where there is no model to be trained."""

    metainfo = {"classes": ("lesion",)}
    pipeline = SimpleNamespace(transforms=[Window(center=40, width=400)])

    def __init__(self, cases: int):
        self.cases = cases

    def __len__(self) -> int:
        return self.cases


def detection(folder: Path, names: tuple[str, ...] = ("a", "b")) -> ReportHook:
    """Windows (6, 12, 16) with one true box, which the odd ones miss; every one has a false find of score 0.3."""
    hook = ReportHook()
    loader = SimpleNamespace(dataset=Ramps(len(names)))
    loop = SimpleNamespace(evaluator=SimpleNamespace(metrics=[DetectionScores(dims=3)]))
    logger = MMLogger.get_instance("vdt3d")
    runner = SimpleNamespace(work_dir=folder, test_dataloader=loader, test_loop=loop, logger=logger)
    folder.mkdir(parents=True, exist_ok=True)
    hook.before_test(runner)
    affine = affine_from_spacing((2.0, 1.0, 1.0))
    for number, name in enumerate(names):
        truth = Boxes([[1, 2, 3, 4, 8, 9]], affine=affine)
        hit = Boxes([[1, 2, 3, 4, 8, 9], [0, 9, 10, 2, 12, 16]], affine=affine)
        sample = DetectionSample(metainfo=dict(sample_name=name, grid=((6, 12, 16), affine), reference=truth))
        sample.pred_boxes = hit.chosen(slice(number % 2, 2))
        sample.pred_scores = np.array([0.8, 0.3])[number % 2 :]
        image = torch.linspace(0, 1, 6 * 12 * 16).reshape(1, 6, 12, 16)
        hook.after_test_iter(runner, number, {"inputs": [image]}, [sample])
    hook.after_test(runner)
    return hook
