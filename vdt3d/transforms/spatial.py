"""Transforms that move voxels; image and label map move alike, world positions stay, and every move can be undone."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from vdt3d.registry import TRANSFORMS
from vdt3d.structures import Sample
from vdt3d.transforms.base import Grid, SpatialTransform, probability
from vdt3d.transforms.grid import cut, flip, resize, turn


class _Cut(SpatialTransform):
    """Moves to the box that ``draw`` places; undoing puts 0 where voxels were cut away."""

    def __init__(self, size: int | Sequence[int]):
        self.size = _triple(size)

    def apply(self, volume: Grid, corner: tuple[int, ...], size: tuple[int, ...], before: tuple[int, ...]) -> Grid:
        return cut(volume, corner, size)

    def undo(self, volume: Grid, corner: tuple[int, ...], size: tuple[int, ...], before: tuple[int, ...]) -> Grid:
        return cut(volume, [-start for start in corner], before)


@TRANSFORMS.register_module()
class RandomShiftCrop3D(_Cut):
    """Cut a box around the centre, moved by whole voxels uniform in [-shift, shift] per axis: the published LIDC crop.

    Args:
        size: voxels along (D, H, W), or one number for all three.
        shift: the largest move along (D, H, W), or one number for all three.

    Raises:
        ValueError: (on use) a side of the volume is shorter than ``size + 2 * shift``.
    """

    def __init__(self, size: int | Sequence[int], shift: int | Sequence[int]):
        super().__init__(size)
        self.shift = _triple(shift, least=0)

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        shape = sample.image.shape
        needed = tuple(side + 2 * shift for side, shift in zip(self.size, self.shift, strict=True))
        if any(have < need for have, need in zip(shape, needed, strict=True)):
            raise ValueError(
                f"case '{sample.name}': {shape} voxels are too few to cut {self.size} with a shift of up to "
                f"{self.shift}; the volume must have at least {needed}: cut a smaller box or put Pad3D before"
            )
        centre = np.array(shape) // 2 - np.array(self.size) // 2
        moved = centre + rng.integers(np.negative(self.shift), self.shift, endpoint=True)
        return {"corner": tuple(moved.tolist()), "size": self.size, "before": shape}


@TRANSFORMS.register_module()
class CenterCrop3D(RandomShiftCrop3D):
    """Cut a box of ``size`` (D, H, W) around the centre.

    Raises:
        ValueError: (on use) a side of the volume is shorter than ``size``.
    """

    def __init__(self, size: int | Sequence[int]):
        super().__init__(size, shift=0)


@TRANSFORMS.register_module()
class Pad3D(_Cut):
    """Surround the volume with 0, evenly, until it has at least ``size`` (D, H, W) voxels.

    In Hounsfield units 0 is water: put it after ``Window`` (0 is the window's low end) or ``Normalize3D`` (the mean).
    """

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        shape = sample.image.shape
        size = tuple(max(have, want) for have, want in zip(shape, self.size, strict=True))
        corner = tuple(have // 2 - want // 2 for have, want in zip(shape, size, strict=True))
        return {"corner": corner, "size": size, "before": shape}


@TRANSFORMS.register_module()
class Resize3D(SpatialTransform):
    """Sample the same extent with ``size`` (D, H, W) voxels: trilinear for images, nearest for labels.

    Shrinking does not smooth beforehand.
    """

    def __init__(self, size: int | Sequence[int]):
        self.size = _triple(size)

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        return {"before": sample.image.shape}

    def apply(self, volume: Grid, before: tuple[int, ...]) -> Grid:
        return resize(volume, self.size)

    def undo(self, volume: Grid, before: tuple[int, ...]) -> Grid:
        return resize(volume, before)


class _Flip(SpatialTransform):
    """Mirrors along the axes that ``draw`` names."""

    def apply(self, volume: Grid, axes: tuple[int, ...]) -> Grid:
        return flip(volume, axes)

    undo = apply  # a flip is its own way back


@TRANSFORMS.register_module()
class RandomFlip3D(_Flip):
    """Mirror along each of ``axes`` (letters of "DHW") with chance ``prob``, independently."""

    def __init__(self, axes: Iterable[str] = "DHW", prob: float = 0.5):
        self.axes, self.prob = _axes(axes), probability(prob)

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        return {"axes": tuple(axis for axis in self.axes if rng.random() < self.prob)}


@TRANSFORMS.register_module()
class RandomFlipOneAxis3D(_Flip):
    """Mirror along one of ``axes`` (letters of "DHW") or none, all equally likely: the published LIDC flip."""

    def __init__(self, axes: Iterable[str] = "DHW"):
        self.choices = ((), *((axis,) for axis in _axes(axes)))

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        return {"axes": self.choices[rng.integers(len(self.choices))]}


@TRANSFORMS.register_module()
class RandomRotate90(SpatialTransform):
    """Turn by 0 to 3 quarters, equally likely, in each of ``planes`` in order (two letters of "DHW" each).

    The sides of a volume that is no cube change places with its axes.
    """

    def __init__(self, planes: Sequence[str] = ("DH", "DW", "HW")):
        self.planes = tuple(_axes(plane) for plane in planes)
        if any(len(plane) != 2 for plane in self.planes):
            raise ValueError(f"a plane is two letters of 'DHW', such as 'HW'; got {planes!r}")

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        return {"quarters": tuple(rng.integers(4, size=len(self.planes)).tolist())}

    def apply(self, volume: Grid, quarters: tuple[int, ...]) -> Grid:
        for plane, count in zip(self.planes, quarters, strict=True):
            volume = turn(volume, plane, count)
        return volume

    def undo(self, volume: Grid, quarters: tuple[int, ...]) -> Grid:
        for plane, count in reversed(list(zip(self.planes, quarters, strict=True))):
            volume = turn(volume, plane, -count)
        return volume


def _triple(value: int | Sequence[int], least: int = 1) -> tuple[int, int, int]:
    """One number for each of (D, H, W)."""
    triple = tuple(value) if isinstance(value, Sequence) else (value,) * 3
    if len(triple) != 3 or any(not isinstance(number, int) or number < least for number in triple):
        raise ValueError(f"expected one whole number >= {least}, or three of them (D, H, W); got {value!r}")
    return triple


def _axes(letters: Iterable[str]) -> tuple[int, ...]:
    """The places of ``letters`` in "DHW"."""
    letters = tuple(letters)
    if len(set(letters)) < len(letters) or not set(letters) <= set("DHW"):
        raise ValueError(f"axes are different letters of 'DHW'; got {letters!r}")
    return tuple("DHW".index(letter) for letter in letters)
