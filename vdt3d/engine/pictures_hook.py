"""PicturesHook: at each validation a page of the same few cases, with what is true and what the model says of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.visualization import LocalVisBackend
from PIL import Image

from vdt3d.engine.runner import Runner
from vdt3d.registry import HOOKS
from vdt3d.structures import Volume
from vdt3d.transforms import undo


@HOOKS.register_module()
class PicturesHook(Hook):
    """Draws the first cases of a validation: ``pictures/epoch_3.png`` (``iter_400.png``) in the work directory.

    The visualizer's backends, TensorBoard for one, get the page too, as ``pictures``. It serves what classifies, what
    labels voxels and what finds objects.

    Args:
        cases: how many.

    Raises:
        ValueError: ``cases`` is not positive; (on use) the model answers something else.
    """

    def __init__(self, cases: int = 4):
        if cases < 1:
            raise ValueError(f"cases={cases}: a page has 1 case or more")
        self.cases, self._kept = cases, []

    def before_val_epoch(self, runner: Runner) -> None:
        self._kept = []

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if is_main_process():
            pairs = zip(data_batch["inputs"], outputs, strict=True)
            self._kept += [pair for pair, _ in zip(pairs, range(self.cases - len(self._kept)), strict=False)]

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if not self._kept:
            return
        from vdt3d.visualization import save  # matplotlib, which most runs do without

        kind, count = ("iter", runner.iter) if runner.by_iterations else ("epoch", runner.epoch)
        path = Path(runner.work_dir) / "pictures" / f"{kind}_{count}.png"
        inputs, samples = zip(*self._kept, strict=True)
        save(_page(inputs, samples, runner.val_dataloader.dataset.metainfo, f"{kind} {count}"), path, dpi=100)
        self._kept = []
        with Image.open(path) as picture:
            array = np.asarray(picture.convert("RGB"))
        for backend in runner.visualizer._vis_backends.values():
            if not isinstance(backend, LocalVisBackend):  # which would only write the file again
                backend.add_image("pictures", array, step=count)


def _page(inputs: Sequence[Any], samples: Sequence[Any], known: dict[str, Any], title: str) -> Any:
    from vdt3d.visualization import boxes_page, labels_page, predictions_page

    arrays = [np.asarray(array) for array in inputs]
    names = [str(sample.get("sample_name") or Path(sample.get("img_path", "")).stem) for sample in samples]
    classes, options = known.get("classes", ()), {"names": names, "title": title}
    if all("pred_score" in sample for sample in samples):
        arrays = [array if array.ndim == 4 else array[:, None] for array in arrays]  # pictures are one slice deep
        scores = [sample.pred_score.float().cpu().numpy() for sample in samples]
        classes = classes or [str(label) for label in range(len(scores[0]))]
        return predictions_page(arrays, [int(sample.gt_label) for sample in samples], scores, classes, **options)
    if all("pred_labels" in sample for sample in samples):
        pairs = zip(arrays, samples, strict=True)
        scans = [undo(Volume(array, sample.grid[1]), sample) for array, sample in pairs]
        regions = known.get("regions") or {name: label for label, name in enumerate(classes) if label > 0}
        truth, said = ([sample.get(name) for sample in samples] for name in ("reference", "pred_labels"))
        return labels_page(scans, truth, said, regions, **options)
    if all("pred_boxes" in sample for sample in samples):
        scans = [Volume(array, sample.grid[1]) for array, sample in zip(arrays, samples, strict=True)]
        truth, said, scores = (
            [sample.get(name) for sample in samples] for name in ("reference", "pred_boxes", "pred_scores")
        )
        return boxes_page(scans, truth, said, scores, **options)
    raise ValueError(f"PicturesHook draws classes, labels and boxes; the model answered {sorted(samples[0].keys())}")
