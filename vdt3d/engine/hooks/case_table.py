"""CaseTableHook: the scores of every case as a table, on Weights & Biases or as csv, with a picture of each."""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from types import ModuleType

import pandas as pd
from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.visualization import WandbVisBackend

from vdt3d.engine.answers import regions_of, scan_of
from vdt3d.engine.runner import Runner
from vdt3d.evaluation import ValidationLoss
from vdt3d.registry import HOOKS
from vdt3d.structures import SegmentationSample
from vdt3d.utils.files import write_aside


@HOOKS.register_module()
class CaseTableHook(Hook):
    """After every validation and test a table with a row per case, of the metrics that score case by case.

    With ``WandbVisBackend`` among ``vis_backends`` it is a ``wandb.Table``, ``val_cases`` or ``test_cases``; else
    ``val_cases.csv`` or ``test_cases.csv`` in the work directory, of the last validation.

    Args:
        pictures: also draw a montage of every case with truth and prediction, ``val_cases/NAME.png`` in the work
            directory, and put it (as csv its path) into the table.

    Raises:
        ValueError: (on use) no metric scores case by case, or ``pictures`` of a model that labels no scans.
    """

    def __init__(self, pictures: bool = False):
        self.pictures = pictures

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._draw(runner, "val", data_batch, outputs)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._draw(runner, "test", data_batch, outputs)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._tell(runner, "val", runner.val_loop.evaluator)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._tell(runner, "test", runner.test_loop.evaluator)

    def _draw(self, runner: Runner, split: str, data_batch: dict, outputs: Sequence[SegmentationSample]) -> None:
        if not self.pictures:
            return
        from vdt3d.visualization import montage, save  # matplotlib, which most runs do without

        loader = runner.val_dataloader if split == "val" else runner.test_dataloader
        regions = regions_of(loader.dataset.metainfo)
        for image, sample in zip(data_batch["inputs"], outputs, strict=True):
            if "pred_labels" not in sample:
                raise ValueError(f"case '{sample.sample_name}' has no labels to draw; leave pictures=True out")
            figure = montage(
                scan_of(image, sample), sample.reference, sample.pred_labels, regions=regions, title=sample.sample_name
            )
            save(figure, _picture(runner, split, sample.sample_name), dpi=100)

    def _tell(self, runner: Runner, split: str, evaluator: Evaluator) -> None:
        metrics = [metric for metric in evaluator.metrics if not isinstance(metric, ValidationLoss)]
        if not is_main_process() or not metrics:  # without metrics, nothing is asked for
            return
        tables = [metric.table for metric in metrics if getattr(metric, "table", None) is not None]
        if not tables:
            kinds = ", ".join(type(metric).__name__ for metric in metrics)
            raise ValueError(f"CaseTableHook finds no scores of single cases in {kinds}; SegmentationScores keeps them")
        table = reduce(lambda one, other: one.merge(other, on="case"), tables)
        if self.pictures:
            table = table.assign(picture=[str(_picture(runner, split, name)) for name in table["case"]])
        backends = [one for one in runner.visualizer._vis_backends.values() if isinstance(one, WandbVisBackend)]
        for backend in backends:
            _show(backend.experiment, f"{split}_cases", table)
        if not backends:
            path = Path(runner.work_dir) / f"{split}_cases.csv"
            write_aside(path, lambda aside: table.to_csv(aside, index=False))


def _picture(runner: Runner, split: str, name: str) -> Path:
    return Path(runner.work_dir) / f"{split}_cases" / f"{name}.png"


def _show(wandb: ModuleType, name: str, table: pd.DataFrame) -> None:
    table = table.astype(object)
    if "picture" in table:
        table["picture"] = [wandb.Image(path) for path in table["picture"]]
    wandb.log({name: wandb.Table(columns=list(table), data=table.to_numpy().tolist())})
