"""Normalisations: values to a common scale, as float32; label maps are never handed to them."""

from collections.abc import Sequence
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
        if known := _known(sample, mean="mean", std="std"):
            return known
        array = _values(sample.image)
        return {"mean": tuple(array.mean(axis=(1, 2, 3)).tolist()), "std": tuple(array.std(axis=(1, 2, 3)).tolist())}

    def apply(self, volume: Volume, mean: tuple[float, ...], std: tuple[float, ...]) -> Volume:
        spread = np.maximum(per_channel(std), np.float32(self.floor))
        return volume.replace(array=(_values(volume) - per_channel(mean)) / spread)


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
        known = _known(sample, low="percentile_00_5", high="percentile_99_5")
        if known and self.percents == (0.5, 99.5):
            return known
        array = _values(sample.image)
        low, high = np.percentile(array.reshape(len(array), -1), self.percents, axis=1)
        return {"low": tuple(low.tolist()), "high": tuple(high.tolist())}

    def apply(self, volume: Volume, low: tuple[float, ...], high: tuple[float, ...]) -> Volume:
        array = _values(volume)
        span_C111 = np.maximum(per_channel(high) - per_channel(low), np.finfo(np.float32).tiny)
        with np.errstate(over="ignore"):  # where the two are equal
            return volume.replace(array=((array - per_channel(low)) / span_C111).clip(0, 1))


@TRANSFORMS.register_module()
class FingerprintNormalize(ZScore):
    """Normalise each channel as its modality asks, with the numbers that preparing the data set has measured.

    CT is clipped to the data set's percentiles 0.5 and 99.5 and normalised with its mean and standard deviation, since
    Hounsfield units mean the same in every scan; any other channel gets the z-scores of its case. That is nnU-Net's
    rule (Isensee et al. 2021). The numbers are the sample's ``statistics`` whose names begin with ``set_``, nan for
    channels that are no CT.

    Raises:
        ValueError: (on use) the sample has no such numbers, or of another number of channels.
    """

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        of_set = _known(
            sample, low="set_percentile_00_5", high="set_percentile_99_5", set_mean="set_mean", set_std="set_std"
        )
        if len(of_set.get("set_mean", ())) != sample.image.channels:
            raise ValueError(
                f"case '{sample.name}' of {sample.image.channels} channels knows of its data set: "
                f"{of_set or 'nothing'}; prepare the data set (tools/dataset/prepare.py) and say so: "
                "dataset=dict(prepared='prepared')"
            )
        own = np.isnan(of_set["set_mean"]).any()
        return of_set | (super().draw(sample, rng) if own else {})

    def apply(
        self,
        volume: Volume,
        low: tuple[float, ...],
        high: tuple[float, ...],
        set_mean: tuple[float, ...],
        set_std: tuple[float, ...],
        **of_case,
    ) -> Volume:
        own_C = np.isnan(set_mean)
        array = np.array(volume.array, dtype=np.float32)
        for channel in np.flatnonzero(~own_C):
            array[channel].clip(low[channel], high[channel], out=array[channel])
            array[channel] -= np.float32(set_mean[channel])
            array[channel] /= np.float32(max(set_std[channel], self.floor))
        if own_C.any():
            array[own_C] = super().apply(volume, **of_case).array[own_C]
        return volume.replace(array=array)


def _known(sample: Sample, **names: str) -> dict[str, tuple[float, ...]]:
    """The statistics of the case called ``names``, or nothing unless all are there."""
    known = sample.statistics or {}
    return {key: known[name] for key, name in names.items()} if known.keys() >= set(names.values()) else {}


def _values(volume: Volume) -> np.ndarray:
    """(C, D, H, W) as float32, read whole if they lie in a file."""
    return np.asarray(volume.array, dtype=np.float32)
