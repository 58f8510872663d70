"""Flips, quarter turns and the canonical orientation: voxels change their places, none its value."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from nibabel.orientations import io_orientation

from vdt3d.registry import TRANSFORMS
from vdt3d.structures import Sample
from vdt3d.transforms.base import Grid, SpatialTransform, probability
from vdt3d.transforms.grid import flip, permute, turn


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
    """Turn in each of ``planes`` in order (two letters of "DHW" each), with chance ``prob``, by 1 to 3 quarters.

    These are equally likely; with the default so are 0 to 3. The sides of a volume that is no cube change places with
    its axes.
    """

    def __init__(self, planes: Sequence[str] = ("DH", "DW", "HW"), *, prob: float = 0.75):
        self.planes, self.prob = tuple(_axes(plane) for plane in planes), probability(prob)
        if any(len(plane) != 2 for plane in self.planes):
            raise ValueError(f"a plane is two letters of 'DHW', such as 'HW'; got {planes!r}")

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        quarters = rng.integers(1, 4, size=len(self.planes)) * (rng.random(len(self.planes)) < self.prob)
        return {"quarters": tuple(quarters.tolist())}

    def apply(self, volume: Grid, quarters: tuple[int, ...]) -> Grid:
        for plane, count in zip(self.planes, quarters, strict=True):
            volume = turn(volume, plane, count)
        return volume

    def undo(self, volume: Grid, quarters: tuple[int, ...]) -> Grid:
        for plane, count in reversed(list(zip(self.planes, quarters, strict=True))):
            volume = turn(volume, plane, -count)
        return volume


@TRANSFORMS.register_module()
class Reorient3D(SpatialTransform):
    """Order and mirror the axes so that z, y, x run as nearly as they can to superior, anterior, right.

    That is the canonical orientation (NIfTI's RAS+, in our reverse order). An oblique grid stays oblique. A volume in
    this orientation is returned as it is, and an array that lies in a file stays unread.
    """

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        world, sign = io_orientation(sample.image.affine).T  # of each array axis: its world axis, and forth or back
        order = tuple(world.astype(int).tolist().index(axis) for axis in (2, 1, 0))
        return {"order": order, "axes": tuple(axis for axis in range(3) if sign[order[axis]] < 0)}

    def moves(self, order: tuple[int, ...], axes: tuple[int, ...]) -> bool:
        return (order, axes) != ((0, 1, 2), ())

    def apply(self, volume: Grid, order: tuple[int, ...], axes: tuple[int, ...]) -> Grid:
        return flip(permute(volume, order), axes) if self.moves(order, axes) else volume

    def undo(self, volume: Grid, order: tuple[int, ...], axes: tuple[int, ...]) -> Grid:
        return permute(flip(volume, axes), np.argsort(order).tolist())


def _axes(letters: Iterable[str]) -> tuple[int, ...]:
    """The places of ``letters`` in "DHW"."""
    letters = tuple(letters)
    if len(set(letters)) < len(letters) or not set(letters) <= set("DHW"):
        raise ValueError(f"axes are different letters of 'DHW'; got {letters!r}")
    return tuple("DHW".index(letter) for letter in letters)
