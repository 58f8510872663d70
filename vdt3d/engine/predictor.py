"""Predictor: a config and its checkpoints as one callable, from a scan to labels or findings on the scan's own grid."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner.amp import autocast

from vdt3d.engine.ensemble import join, loaded
from vdt3d.inference import Assessed, Findings, join_slices, sweep
from vdt3d.io import read_volume
from vdt3d.models import WindowDetector
from vdt3d.registry import DATASETS, MODELS, TRANSFORMS
from vdt3d.structures import DetectionSample, LabelMap, Sample, SegmentationSample, Volume
from vdt3d.utils.checkpoint import read_any


class Predictor:
    """Labels scans, or finds objects in them, as the test of a config would.

    The scan goes through what the data set's preparation did to its cases, where the checkpoint tells of one, and
    through the pipeline of ``test_dataloader.dataset``; the model's ``test_step`` answers. A detector's windows go
    through that pipeline one by one, and through the network in batches of ``test_dataloader.batch_size``.

    Args:
        config: of a model that labels voxels, or of a ``WindowDetector``, or the path of one.
        checkpoints: its weights; of several the mean probability decides (folds, seeds).
        device: where to compute; by default the best there is.
        uncertainty: whether ``assess`` is asked for.
        mc_dropout: draws of dropout whose mean probability decides, for each checkpoint; 0 leaves dropout off.

    Attributes:
        detects: whether the answer is findings.
        classes: names of the labels from 0 on, of voxels background first, as the first checkpoint or the data set has
            them; else empty.
        channels: how many a scan must have.

    Raises:
        CheckpointError: a checkpoint that does not fill the whole model.
        ValueError: no checkpoint; a config without test data set; a detector or a model without inferer, where there
            are several, or where anything is asked that needs one; a model without dropout.
    """

    def __init__(
        self,
        config: Config | str | Path,
        checkpoints: str | Path | Sequence[str | Path],
        *,
        device: str | None = None,
        uncertainty: bool = False,
        mc_dropout: int = 0,
    ):
        if not isinstance(config, Config):
            config = Config.fromfile(config, lazy_import=False)
        paths = [str(path) for path in ([checkpoints] if isinstance(checkpoints, str | Path) else checkpoints)]
        if not paths:
            raise ValueError("a predictor wants at least one checkpoint")
        if config.get("test_dataloader") is None:
            raise ValueError("the config has no test_dataloader, whose pipeline would prepare the scan")
        dataset = config.test_dataloader.dataset
        self.device = torch.device(device or get_device())
        self.half = bool((config.get("test_cfg") or {}).get("fp16"))  # as mmengine's test loop reads it
        contents = [read_any(path) for path in paths]
        models = [loaded(config, path, self.device, content) for content, path in zip(contents, paths, strict=True)]
        self.model = models[0]
        self.detects = isinstance(self.model, WindowDetector)
        if len(models) > 1 or uncertainty or mc_dropout:
            join(models, uncertainty=uncertainty, mc_dropout=mc_dropout)
        metainfo = contents[0].get("meta", {}).get("dataset_meta") or getattr(
            DATASETS.get(dataset.type), "METAINFO", {}
        )
        preparation = metainfo.get("preparation", {})
        self.statistics = preparation.get("statistics", {})
        self.preparation, self.pipeline = (
            [TRANSFORMS.build(transform) for transform in part.get("pipeline", ())] for part in (preparation, dataset)
        )
        self.batch = config.test_dataloader.get("batch_size", 1)
        self.classes = tuple(metainfo.get("classes", ()))
        self.channels = len(metainfo.get("modality", ())) or 1
        self._reader = dict(dataset.get("reader") or {})

    def read(self, path: str | Path, *, series: str | None = None) -> Volume:
        """The scan at ``path``, read with the options of the test data set (``reader``).

        Raises:
            ScanError: it cannot be trusted, or has other channels than the model was trained with.
        """
        declared = {"channels": self.channels} if self.channels > 1 else {}
        return read_volume(path, series=series, **declared, **self._reader)

    def __call__(self, volume: Volume, *, name: str = "") -> LabelMap | Findings:
        """Labels, or what ``find`` gives by default, on the grid of ``volume``.

        Args:
            name: how messages call the case.

        Raises:
            ValueError: the pipeline or the model is not made for this, or the labels do not lie on the scan's grid.
        """
        return self.find(volume, name=name) if self.detects else self._labelled(volume, name).pred_labels

    def assess(self, volume: Volume, *, name: str = "") -> Assessed:
        """The labels, and how far they are to be trusted, on the grid of ``volume``; see ``Inferer.assess``.

        Raises:
            ValueError: the predictor was not made with ``uncertainty=True``; or as labelling does.
        """
        answer = self._labelled(volume, name)
        if "assessed" not in answer:
            raise ValueError("ask for a Predictor(..., uncertainty=True) of a model that labels voxels")
        maps = (None if one is None else one.replace(affine=volume.affine) for one in answer.assessed[1:])
        return Assessed(answer.pred_labels, *maps)

    def _labelled(self, volume: Volume, name: str) -> SegmentationSample:
        data = _through(self.pipeline, self._prepared(volume, name))
        if not isinstance(data, dict) or not isinstance(data.get("data_samples"), SegmentationSample):
            raise ValueError("the test pipeline of the config does not end in PackSegmentation: it labels no voxels")
        (answer,) = self._answers([data])
        label_map = answer.pred_labels
        if not label_map.same_grid(volume):
            raise ValueError(
                f"case '{name}': the labels {label_map.shape} do not lie on the grid of the scan {volume.shape}; a "
                "transform of the test pipeline does not keep voxels in their place"
            )
        answer.pred_labels = label_map.replace(affine=volume.affine)  # the same up to rounding
        return answer

    def find(self, volume: Volume, *, name: str = "", top: int | None = 20, every: float | None = None) -> Findings:
        """What a detector finds, on the grid of ``volume``.

        Args:
            name: how messages call the case.
            top: how many findings there are at most, the surest; None for all.
            every: mm from one slice that is asked about to the next, see ``sweep``.

        Raises:
            ValueError: the model is no detector, the pipeline is not made for one, or as ``sweep`` and ``join_slices``.
        """
        if not self.detects:
            raise ValueError(f"{type(self.model).__name__} labels voxels and finds nothing: call the predictor itself")
        prepare = partial(_through, self.pipeline)
        sample = self._prepared(volume, name)
        swept = sweep(self._answers, sample, self.model.window, prepare, every=every, batch=self.batch)
        return join_slices(*swept, top=top).on(volume.affine)

    def _prepared(self, volume: Volume, name: str) -> Sample:
        """What the data set's preparation makes of a scan."""
        return _through(self.preparation, Sample(image=volume, statistics=self.statistics, name=name))

    def _answers(self, packed: Sequence[dict[str, Any]]) -> Sequence[SegmentationSample | DetectionSample]:
        with torch.no_grad(), autocast(enabled=self.half):
            return self.model.test_step({key: [each[key] for each in packed] for key in packed[0]})


def _through(transforms: Sequence[Callable[[Any], Any]], data: Any) -> Any:
    for transform in transforms:
        data = transform(data)
    return data


def detects(config: Config) -> bool:
    """Whether the model of a config, which is not built, is a detector."""
    kind = config.model.type
    return issubclass(MODELS.get(kind) if isinstance(kind, str) else kind, WindowDetector)
