"""PicturesHook: at each validation a page of the same few cases, with what is true and what the model says of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.visualization import LocalVisBackend
from PIL import Image

from vdt3d.engine.answers import kind_of, name_of, regions_of, scan_of
from vdt3d.engine.runner import Runner
from vdt3d.registry import HOOKS


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

    kinds = {kind_of(sample) for sample in samples}
    volumes = [scan_of(image, sample) for image, sample in zip(inputs, samples, strict=True)]
    options = {"names": [name_of(sample) for sample in samples], "title": title}
    truth = [sample.get("reference") for sample in samples]
    if kinds == {"classification"}:
        arrays = [volume.array for volume in volumes]
        scores = [sample.pred_score.float().cpu().numpy() for sample in samples]
        classes = known.get("classes", ()) or [str(label) for label in range(len(scores[0]))]
        return predictions_page(arrays, [int(sample.gt_label) for sample in samples], scores, classes, **options)
    if kinds == {"segmentation"}:
        said = [sample.pred_labels for sample in samples]
        return labels_page(volumes, truth, said, regions_of(known), **options)
    said, scores = ([sample.get(name) for sample in samples] for name in ("pred_boxes", "pred_scores"))
    return boxes_page(volumes, truth, said, scores, **options)
