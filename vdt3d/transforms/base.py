"""Draw, apply, undo: chance is drawn once per sample, applied to image and label alike, and can be walked back."""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from vdt3d.structures import LabelMap, Sample, Volume
from vdt3d.utils.random import stream

Grid = TypeVar("Grid", Volume, LabelMap)


class Transform:
    """From sample to sample. Subclasses say what they draw, how they apply it and, where possible, how they undo it."""

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        """What chance (and the sample) decide: the keyword arguments of ``apply`` and ``undo``, which draw nothing."""
        return {}

    def apply(self, volume: Grid, **drawn) -> Grid:
        raise NotImplementedError(f"{type(self).__name__} must define apply")

    def __call__(self, sample: Sample) -> Sample:
        drawn = self.draw(sample, stream(type(self).__name__))
        changed = self.change(sample, drawn)
        return changed.replace(history=(*sample.history, (self, drawn)))

    def change(self, sample: Sample, drawn: dict[str, Any]) -> Sample:
        """Hand ``apply`` the parts of the sample that this kind of transform may touch."""
        raise NotImplementedError


class SpatialTransform(Transform):
    """Moves voxels: image and label map alike. Boxes go where the affine says their voxels went, none is left out."""

    def change(self, sample: Sample, drawn: dict[str, Any]) -> Sample:
        label_map = None if sample.label_map is None else self.apply(sample.label_map, **drawn)
        image = self.apply(sample.image, **drawn)
        boxes = None if sample.boxes is None else sample.boxes.on(image.affine)
        return sample.replace(image=image, label_map=label_map, boxes=boxes)

    def moves(self, **drawn) -> bool:
        """Return whether these draws move any voxel."""
        return True

    def undo(self, volume: Grid, **drawn) -> Grid:
        """Bring a volume (a prediction, say) from the grid after this transform back to the grid before it."""
        raise NotImplementedError(f"{type(self).__name__} cannot be undone")


class IntensityTransform(Transform):
    """Changes values; is never handed a label map, so it cannot harm one.

    The case's statistics, which are those of the values as read, are dropped.
    """

    def change(self, sample: Sample, drawn: dict[str, Any]) -> Sample:
        return sample.replace(image=self.apply(sample.image, **drawn), statistics=None)


def undo(volume: Grid, sample: Sample) -> Grid:
    """Walk a prediction made on ``sample`` back through its spatial transforms, newest first, to the scan's grid."""
    for transform, drawn in reversed(sample.history):
        if isinstance(transform, SpatialTransform):
            volume = transform.undo(volume, **drawn)
    return volume


def probability(value: float) -> float:
    """``value``, checked.

    Raises:
        ValueError: it lies outside 0..1.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"a chance lies between 0 and 1, got {value}")
    return value


def triple(value: int | Sequence[int], least: int = 1) -> tuple[int, int, int]:
    """One whole number for each of (D, H, W).

    Raises:
        ValueError: ``value`` is neither one whole number nor three, or one of them is below ``least``.
    """
    numbers = tuple(value) if isinstance(value, Sequence) else (value,) * 3
    if len(numbers) != 3 or any(not isinstance(number, int) or number < least for number in numbers):
        raise ValueError(f"expected one whole number >= {least}, or three of them (D, H, W); got {value!r}")
    return numbers


def sides(value: int | Sequence[int | None]) -> tuple[int | None, ...]:
    """As ``triple``; None stands for an axis that keeps its length, as the slices of a window."""
    if not isinstance(value, Sequence):
        return triple(value)
    triple([1 if side is None else side for side in value])
    return tuple(value)


def settled(size: Sequence[int | None], shape: Sequence[int]) -> tuple[int, ...]:
    """``size`` with the lengths of ``shape`` in place of None."""
    return tuple(have if side is None else side for side, have in zip(size, shape, strict=True))


def positive_range(value: Sequence[float], name: str) -> tuple[float, float]:
    """The least and the greatest value of a range.

    Raises:
        ValueError: there are not two, or they are not positive and in order.
    """
    if len(value) != 2 or not 0 < value[0] <= value[1] < np.inf:
        raise ValueError(f"{name} is a range (low, high) of positive numbers, got {value!r}")
    return tuple(value)


def coarse_axes(spacing: Sequence[float]) -> set[int]:
    """The axes whose spacing is three or more times the finest, nnU-Net's mark of anisotropy (Isensee et al. 2021)."""
    return {axis for axis, step in enumerate(spacing) if step >= 3 * min(spacing)}


def per_channel(numbers: float | Sequence[float]) -> np.ndarray:
    """One number, or one per channel, as float32 (C, 1, 1, 1) to be combined with arrays (C, D, H, W)."""
    return np.asarray(numbers, dtype=np.float32).reshape(-1, 1, 1, 1)
