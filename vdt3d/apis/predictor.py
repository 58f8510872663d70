"""Predictor: a config and its checkpoints as one callable, from a scan to labels, findings or class probabilities."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner.amp import autocast
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample

from vdt3d.engine.config import read_config, resolve_config
from vdt3d.engine.ensemble import content_of, join, loaded
from vdt3d.inference import Assessed, Classified, Findings, join_slices, sweep
from vdt3d.io import channel_files, fitting_options, read_image, scan_name
from vdt3d.models import WindowDetector
from vdt3d.registry import DATASETS, MODELS, TRANSFORMS
from vdt3d.structures import (
    DetectionSample,
    LabelMap,
    Sample,
    SegmentationSample,
    Volume,
    affine_from_spacing,
    describe_grids,
)


class Predictor:
    """Labels scans, classifies them, or finds objects in them, as the test of a config would.

    The scan goes through what the data set's preparation did to its cases, where the checkpoint tells of one, and
    through the pipeline of ``test_dataloader.dataset``; the model's ``test_step`` answers. A detector's windows go
    through that pipeline one by one, and through the network in batches of ``test_dataloader.batch_size``.

    Args:
        config: of a model that labels voxels, of a classifier or of a ``WindowDetector``, or the path of one, of this
            folder or of the installed package.
        checkpoints: its weights, or the network exported (``.onnx``); of several the mean probability decides (folds,
            seeds).
        device: where to compute; by default the best there is.
        uncertainty: whether ``assess`` is asked for.
        mc_dropout: draws of dropout whose mean probability decides, for each checkpoint; 0 leaves dropout off.

    Attributes:
        detects, classifies: whether the answer is findings, or class probabilities.
        classes: names of the labels from 0 on, of voxels background first, as the first checkpoint or the data set has
            them; else empty.
        structures: of voxels, what has a volume, by name: a label, or the labels of a region.
        channels: how many a scan must have.

    Raises:
        CheckpointError: a checkpoint that does not fill the whole model.
        FileNotFoundError: there is no such config.
        ValueError: a config that the command line refuses too; a device that is not there; no checkpoint; a config
            without test data set; a detector or a model without inferer, where there are several, or where anything is
            asked that needs one; a model without dropout.
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
        config = resolve_config(config) if isinstance(config, Config) else read_config(config)
        paths = [str(path) for path in ([checkpoints] if isinstance(checkpoints, str | Path) else checkpoints)]
        if not paths:
            raise ValueError("a predictor wants at least one checkpoint")
        if config.get("test_dataloader") is None:
            raise ValueError("the config has no test_dataloader, whose pipeline would prepare the scan")
        dataset = config.test_dataloader.dataset
        self.device = _device(device)
        self.half = bool((config.get("test_cfg") or {}).get("fp16"))  # as mmengine's test loop reads it
        contents = [content_of(path, self.device) for path in paths]
        models = [loaded(config, path, self.device, content) for content, path in zip(contents, paths, strict=True)]
        self.model = models[0]
        self.detects, self.classifies = (isinstance(self.model, kind) for kind in (WindowDetector, ImageClassifier))
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
        self.structures = dict(metainfo.get("regions") or {name: at for at, name in enumerate(self.classes) if at})
        self.channels = len(metainfo.get("modality", ())) or 1
        of_format = getattr(DATASETS.get(dataset.type), "reader", None)  # of LIDC, which array of a file is the scan
        self._reader = {**(of_format if isinstance(of_format, Mapping) else {}), **(dataset.get("reader") or {})}

    def read(
        self, path: str | Path, *, series: str | None = None, spacing: tuple[float, float, float] | None = None
    ) -> Volume:
        """The scan at ``path``, read with the options of the test data set (``reader``) that are of use for its format.

        Of a model of several channels, NAME_0000 stands for all files of the scan, see ``vdt3d.io.channel_files``.

        Args:
            series: which series of a DICOM folder, by its UID.
            spacing: (z, y, x) in mm, of formats that carry none.

        Raises:
            ScanError: it cannot be trusted, or has other channels than the model was trained with.
        """
        options = fitting_options(path, self._reader) | ({} if spacing is None else {"spacing": spacing})
        return read_image(channel_files(Path(path), self.channels), self.channels, series=series, **options)

    def __call__(
        self,
        scan: Volume | np.ndarray | str | Path,
        *,
        name: str | None = None,
        spacing: tuple[float, float, float] | None = None,
        series: str | None = None,
    ) -> LabelMap | Findings | Classified:
        """Labels or, of a detector, what ``find`` gives by default, on the scan's own grid; of a classifier the
        probabilities of its classes.

        Args:
            scan: a file or folder, as ``read`` takes it; an array (D, H, W) or (C, D, H, W), axis-aligned; a volume.
            name: how messages call the case. Default: as the file or folder is called.
            spacing: (z, y, x) in mm of an array, where it is not 1 mm, or of a file that carries none.
            series: which series of a DICOM folder, by its UID.

        Raises:
            ScanError: as ``read``.
            ValueError: an array of other axes or channels, or that is not finite; spacing or series of what has them;
                the pipeline or the model is not made for this, or the labels do not lie on the scan's grid.
        """
        if isinstance(scan, str | Path):
            name = scan_name(scan) if name is None else name
            volume = self.read(scan, series=series, spacing=spacing)
        elif series is not None:
            raise ValueError(f"series='{series}' chooses one of a DICOM folder, and no folder was given")
        else:
            volume = self._volume(scan, spacing)
        name = name or ""
        if self.detects:
            return self.find(volume, name=name)
        return self._classified(volume, name) if self.classifies else self._labelled(volume, name).pred_labels

    def assess(self, volume: Volume, *, name: str = "") -> Assessed:
        """The labels, and how far they are to be trusted, on the grid of ``volume``; see ``Inferer.assess``.

        Raises:
            ValueError: the predictor was not made with ``uncertainty=True``; or as labelling does.
        """
        answer = self._labelled(volume, name)
        if "assessed" not in answer:
            raise ValueError("ask for a Predictor(..., uncertainty=True) of a model that labels voxels")
        maps = (None if one is None else one.on_grid_of(volume) for one in answer.assessed[1:])
        return Assessed(answer.pred_labels, *maps)

    def _volume(self, scan: Volume | np.ndarray, spacing: tuple[float, float, float] | None) -> Volume:
        """An array in memory as a volume of 1 mm, or ``spacing``, and a volume as it is, both checked."""
        if isinstance(scan, Volume):
            if spacing is not None:
                raise ValueError(f"spacing={spacing}: a Volume has its own, {scan.spacing}")
            volume = scan
        else:
            array = np.asarray(scan)
            if array.ndim not in (3, 4) or array.dtype.kind not in "biuf":
                wanted = "a scan in memory is numbers (D, H, W) or (C, D, H, W)"
                raise ValueError(f"{wanted}, got {array.dtype} of shape {array.shape}")
            array = np.asarray(array if array.ndim == 4 else array[None], np.float32)
            if not np.isfinite(array).all():
                raise ValueError("the scan holds NaN or infinite voxels: set them to what air has there, or to 0")
            volume = Volume(array, affine_from_spacing(spacing or (1.0, 1.0, 1.0)))
        if volume.channels != self.channels:
            raise ValueError(f"the scan has {volume.channels} channels, and the model was trained with {self.channels}")
        return volume

    def _classified(self, volume: Volume, name: str) -> Classified:
        data = _through(self.pipeline, self._prepared(volume, name))
        if not isinstance(data, dict) or not isinstance(data.get("data_samples"), DataSample):
            raise ValueError("the test pipeline of the config does not end in PackVolume: it classifies nothing")
        (answer,) = self._answers([data])
        probabilities = answer.pred_score.float().cpu().numpy()
        named = self.classes if len(self.classes) == len(probabilities) else map(str, range(len(probabilities)))
        return Classified(tuple(named), probabilities, answer.get("disagreement"))

    def _labelled(self, volume: Volume, name: str) -> SegmentationSample:
        data = _through(self.pipeline, self._prepared(volume, name))
        if not isinstance(data, dict) or not isinstance(data.get("data_samples"), SegmentationSample):
            raise ValueError("the test pipeline of the config does not end in PackSegmentation: it labels no voxels")
        (answer,) = self._answers([data])
        label_map = answer.pred_labels
        if not label_map.same_grid(volume):
            ours, theirs = describe_grids(label_map, volume)
            raise ValueError(
                f"case '{name}': the labels, {ours}, do not lie on the grid of the scan, {theirs}; a transform of the "
                "test pipeline does not keep voxels in their place"
            )
        answer.pred_labels = label_map.on_grid_of(volume)  # the same up to rounding
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
            raise ValueError(f"{type(self.model).__name__} is no detector and finds nothing: call the predictor itself")
        prepare = partial(_through, self.pipeline)
        sample = self._prepared(volume, name)
        swept = sweep(self._answers, sample, self.model.window, prepare, every=every, batch=self.batch)
        return join_slices(*swept, top=top).on(volume.affine)

    def _prepared(self, volume: Volume, name: str) -> Sample:
        """What the data set's preparation makes of a scan."""
        return _through(self.preparation, Sample(image=volume, statistics=self.statistics, name=name))

    def _answers(self, packed: Sequence[dict[str, Any]]) -> Sequence[SegmentationSample | DetectionSample | DataSample]:
        with torch.no_grad(), autocast(enabled=self.half):
            return self.model.test_step({key: [each[key] for each in packed] for key in packed[0]})


def _device(name: str | None) -> torch.device:
    try:
        device = torch.device(name or get_device())
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # a build without CUDA asserts
        reason = str(error).splitlines()[0]
        raise ValueError(f"the device '{name}' is not to be had here ({reason}); leave it out for the best") from error
    return device


def _through(transforms: Sequence[Callable[[Any], Any]], data: Any) -> Any:
    for transform in transforms:
        data = transform(data)
    return data


def answer_of(config: Config) -> Literal["labels", "findings", "classes"]:
    """What the model of a config, which is not built, says of a scan."""
    kind = config.model.type
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    answers = ((WindowDetector, "findings"), (ImageClassifier, "classes"))
    return next((answer for base, answer in answers if issubclass(kind, base)), "labels")
