"""Normalisations: values to a common scale, as float32; label maps are never handed to them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vdt3d.registry import TRANSFORMS
from vdt3d.structures import Sample, Volume
from vdt3d.transforms.base import IntensityTransform, per_channel


@TRANSFORMS.register_module()
class Normalize3D(IntensityTransform):
    """``(value - mean) / std``, with one number each, or one per channel.

    Raises:
        ValueError: ``std`` is not positive; or (on use) there are neither one nor as many numbers as channels.
    """

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]):
        self.mean, self.std = np.atleast_1d(np.float32(mean)), np.atleast_1d(np.float32(std))
        if not (self.std > 0).all():
            raise ValueError(f"std must be positive, got {std}")

    def apply(self, volume: Volume) -> Volume:
        return volume.replace(array=self._normalized(_values(volume)))

    def _normalized(self, array_CDHW: np.ndarray) -> np.ndarray:
        if not {len(self.mean), len(self.std)} <= {1, len(array_CDHW)}:
            raise ValueError(
                f"{len(self.mean)} means and {len(self.std)} stds do not fit a volume of {len(array_CDHW)} channels: "
                "give one number, or one per channel"
            )
        return (array_CDHW - per_channel(self.mean)) / per_channel(self.std)


@TRANSFORMS.register_module()
class ClipNormalize3D(Normalize3D):
    """Clip to ``low``..``high``, then ``(value - mean) / std``, with one mean and std, or one per channel.

    Raises:
        ValueError: ``low`` is not below ``high``, or as ``Normalize3D``.
    """

    def __init__(self, low: float, high: float, *, mean: float | Sequence[float], std: float | Sequence[float]):
        super().__init__(mean, std)
        if not low < high:
            raise ValueError(f"low must be below high, got {low} and {high}")
        self.low, self.high = low, high

    def apply(self, volume: Volume) -> Volume:
        return volume.replace(array=self._normalized(_values(volume).clip(self.low, self.high)))


@TRANSFORMS.register_module()
class Window(IntensityTransform):
    """Clip to a window in Hounsfield units and scale it to 0..1.

    Raises:
        ValueError: ``width`` is not positive.
    """

    def __init__(self, center: float, width: float):
        if not width > 0:
            raise ValueError(f"width must be positive, got {width}")
        self.low, self.width = center - width / 2, width

    def apply(self, volume: Volume) -> Volume:
        return volume.replace(array=((_values(volume) - self.low) / self.width).clip(0, 1))


@TRANSFORMS.register_module()
class ZScore(IntensityTransform):
    """Give each channel of the case mean 0 and standard deviation 1.

    They are those of the whole case where the sample knows its statistics, as a prepared case does of which only a
    patch is read; otherwise those of the image at hand.

    Args:
        floor: the least standard deviation to divide by, in the units of the image: what is flatter counts as flat.
    """

    def __init__(self, floor: float = 1e-3):
        if not floor > 0:
            raise ValueError(f"floor must be positive, got {floor}")
        self.floor = floor

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        return _known(sample, mean="mean", std="std")

    def apply(
        self, volume: Volume, mean: tuple[float, ...] | None = None, std: tuple[float, ...] | None = None
    ) -> Volume:
        array = _values(volume)
        if mean is None or std is None:
            mean, std = (moment(axis=(1, 2, 3)) for moment in (array.mean, array.std))
        return volume.replace(array=(array - per_channel(mean)) / np.maximum(per_channel(std), np.float32(self.floor)))


@TRANSFORMS.register_module()
class Percentile3D(IntensityTransform):
    """Scale each channel so that its percentiles ``low`` and ``high`` become 0 and 1, and clip what lies outside.

    They are those of the whole case where the sample knows them (only 0.5 and 99.5 are kept), as ``ZScore`` says,
    otherwise those of the image at hand. Where the two are equal, what lies above becomes 1, the rest 0.

    Raises:
        ValueError: not ``0 <= low < high <= 100``.
    """

    def __init__(self, low: float = 0.5, high: float = 99.5):
        if not 0 <= low < high <= 100:
            raise ValueError(f"percentiles lie in order between 0 and 100, got {low} and {high}")
        self.percents = (low, high)

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        if self.percents != (0.5, 99.5):
            return {}
        return _known(sample, low="percentile_00_5", high="percentile_99_5")

    def apply(
        self, volume: Volume, low: tuple[float, ...] | None = None, high: tuple[float, ...] | None = None
    ) -> Volume:
        array = _values(volume)
        if low is None or high is None:
            low, high = np.percentile(array.reshape(len(array), -1), self.percents, axis=1)
        span_C111 = np.maximum(per_channel(high) - per_channel(low), np.finfo(np.float32).tiny)
        with np.errstate(over="ignore"):  # where the two are equal
            return volume.replace(array=((array - per_channel(low)) / span_C111).clip(0, 1))


@TRANSFORMS.register_module()
class FingerprintNormalize(ZScore):
    """Normalise each channel as its modality asks, with the numbers that preparing the data set has measured.

    CT is clipped to the data set's percentiles 0.5 and 99.5 and normalised with its mean and standard deviation, since
    Hounsfield units mean the same in every scan; any other channel gets the z-scores of its case. That is nnU-Net's
    rule (Isensee et al. 2021).

    Args:
        fingerprint: the prepared data set's ``fingerprint.json``, or what it holds; its entry ``intensity`` has, for
            each channel, ``modality``, ``percentile_00_5``, ``percentile_99_5``, ``mean`` and ``std``.

    Raises:
        ValueError: the file is missing or not of this kind; or (on use) it is of another number of channels.
    """

    def __init__(self, fingerprint: str | Path | dict, floor: float = 1e-3):
        super().__init__(floor)
        self.channels = _intensities(fingerprint)

    def apply(
        self, volume: Volume, mean: tuple[float, ...] | None = None, std: tuple[float, ...] | None = None
    ) -> Volume:
        if len(self.channels) != volume.channels:
            raise ValueError(
                f"the fingerprint is of {len(self.channels)} channels, the volume has {volume.channels}: "
                "take the fingerprint of the data set it belongs to"
            )
        array = np.array(volume.array, dtype=np.float32)
        own_C = [known["modality"].upper() != "CT" for known in self.channels]
        for values_DHW, own, known in zip(array, own_C, self.channels, strict=True):
            if not own:
                values_DHW.clip(known["percentile_00_5"], known["percentile_99_5"], out=values_DHW)
                values_DHW -= known["mean"]
                values_DHW /= max(known["std"], self.floor)
        if any(own_C):
            scores = super().apply(volume, mean, std).array
            array[own_C] = scores[own_C]
        return volume.replace(array=array)


def _intensities(fingerprint: str | Path | dict) -> list[dict[str, Any]]:
    """The entry ``intensity`` of a fingerprint, checked."""
    source = "fingerprint" if isinstance(fingerprint, dict) else str(fingerprint)
    try:
        known = fingerprint if isinstance(fingerprint, dict) else json.loads(Path(fingerprint).read_text("utf-8"))
        channels = known["intensity"]
        numbers = ("percentile_00_5", "percentile_99_5", "mean", "std")
        return [
            {"modality": str(channel["modality"]), **{name: float(channel[name]) for name in numbers}}
            for channel in channels
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{source}: not the fingerprint of a prepared data set ({type(error).__name__}: {error}); "
            "tools/dataset/prepare.py writes one as prepared/fingerprint.json"
        ) from error


def _known(sample: Sample, **names: str) -> dict[str, tuple[float, ...]]:
    """The statistics of the case called ``names``, or nothing unless all are there."""
    known = sample.statistics or {}
    return {key: known[name] for key, name in names.items()} if known.keys() >= set(names.values()) else {}


def _values(volume: Volume) -> np.ndarray:
    """(C, D, H, W) as float32, read whole if they lie in a file."""
    return np.asarray(volume.array, dtype=np.float32)
