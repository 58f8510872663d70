"""PredictionsHook: the segmentations of a test, as files."""

from collections.abc import Sequence
from pathlib import Path

from mmengine.hooks import Hook

from vdt3d.engine.runner import Runner
from vdt3d.io import write_nifti
from vdt3d.registry import HOOKS
from vdt3d.structures import SegmentationSample


@HOOKS.register_module()
class PredictionsHook(Hook):
    """Writes the labels of each test case to ``out``/NAME.nii.gz, on the scan's own grid.

    Raises:
        ValueError: (on use) the model answers something other than labels.
    """

    def __init__(self, out: str | Path):
        self.out = Path(out)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[SegmentationSample] | None = None,
    ) -> None:
        for sample in outputs:
            if "pred_labels" not in sample:
                raise ValueError(
                    f"case '{sample.sample_name}': {type(runner.model).__name__} answers no labels to write"
                )
            labels = sample.pred_labels.replace(stored=sample.get("stored"))
            write_nifti(labels, self.out / f"{sample.sample_name}.nii.gz")
