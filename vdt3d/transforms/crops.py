"""Cuts at chosen places and surrounds: crops, pads and their way back."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from vdt3d.registry import TRANSFORMS
from vdt3d.structures import LabelMap, Sample
from vdt3d.transforms.base import Grid, SpatialTransform, settled, sides, triple
from vdt3d.transforms.grid import cut

BODY_HU = -500  # between lung or air and tissue: above the noise of air, below fat


class Cut(SpatialTransform):
    """Moves to the box ``size`` at ``corner``, as ``draw`` places it in the ``before`` voxels there were.

    What reaches out of the volume is ``pad_value`` in images and 0 in label maps; undoing puts 0 where voxels were cut
    away.
    """

    pad_value: float | Literal["min"] = 0

    def apply(self, volume: Grid, corner: tuple[int, ...], size: tuple[int, ...], before: tuple[int, ...]) -> Grid:
        return cut(volume, corner, size, fill=0 if isinstance(volume, LabelMap) else self.pad_value)

    def undo(self, volume: Grid, corner: tuple[int, ...], size: tuple[int, ...], before: tuple[int, ...]) -> Grid:
        return cut(volume, [-start for start in corner], before)


@TRANSFORMS.register_module()
class RandomShiftCrop3D(Cut):
    """Cut a box around the centre, moved by whole voxels uniform in [-shift, shift] per axis: the published LIDC crop.

    Args:
        size: voxels along (D, H, W), or one number for all three.
        shift: the largest move along (D, H, W), or one number for all three.

    Raises:
        ValueError: (on use) a side of the volume is shorter than ``size + 2 * shift``.
    """

    def __init__(self, size: int | Sequence[int], shift: int | Sequence[int]):
        self.size = triple(size)
        self.shift = triple(shift, least=0)

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
class RandomCrop3D(Cut):
    """Cut a box of at most ``size`` voxels (D, H, W), all places inside the volume equally likely.

    A side that is no longer than that stays, as one does for which ``size`` has None.
    """

    def __init__(self, size: int | Sequence[int | None]):
        self.size = sides(size)

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        shape = sample.image.shape
        size = np.minimum(settled(self.size, shape), shape)
        corner = rng.integers(shape - size, endpoint=True)
        return {"corner": tuple(corner.tolist()), "size": tuple(size.tolist()), "before": shape}


@TRANSFORMS.register_module()
class Pad3D(Cut):
    """Surround the volume evenly until it has at least ``size`` (D, H, W) voxels; None leaves an axis alone.

    Args:
        size: voxels along (D, H, W), or one number for all three.
        pad_value: image value of the added voxels, in the units at this point of the pipeline. 0 fits after ``Window``
            (its low end) and ``Normalize3D`` (the mean); in Hounsfield units 0 is water and -1024 is air. Added voxels
            of a label map are 0.
    """

    def __init__(self, size: int | Sequence[int | None], *, pad_value: float = 0):
        self.size, self.pad_value = sides(size), pad_value

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        shape = sample.image.shape
        return _around(shape, settled(self.size, shape))


@TRANSFORMS.register_module()
class PadToMultiple3D(Cut):
    """Surround the volume with 0, evenly, until its sides are multiples of ``divisor`` (D, H, W).

    What ``Pad3D`` says of 0 holds here too.
    """

    def __init__(self, divisor: int | Sequence[int]):
        self.divisor = triple(divisor)

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        shape = sample.image.shape
        multiple = [-(-have // step) * step for have, step in zip(shape, self.divisor, strict=True)]
        return _around(shape, multiple)


@TRANSFORMS.register_module()
class CropForeground3D(Cut):
    """Cut the smallest box that holds every voxel above ``threshold`` in any channel, and ``margin`` voxels around it.

    The margin ends at the border of the volume.

    Args:
        margin: voxels along (D, H, W), or one number for all three.
        threshold: in the units of the image.

    Raises:
        ValueError: (on use) no voxel lies above the threshold.
    """

    def __init__(self, margin: int | Sequence[int] = 0, *, threshold: float = 0):
        self.margin, self.threshold = triple(margin, least=0), threshold

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        shape = sample.image.shape
        above_DHW = (np.asarray(sample.image.array) > self.threshold).any(axis=0)
        if not above_DHW.any():
            raise ValueError(
                f"case '{sample.name}': no voxel lies above the threshold {self.threshold}; the greatest value is "
                f"{np.max(sample.image.array)}: lower the threshold of {type(self).__name__}"
            )
        corner, size = [], []
        for axis, margin in enumerate(self.margin):
            filled = np.flatnonzero(above_DHW.any(axis=tuple({0, 1, 2} - {axis})))
            first, last = max(int(filled[0]) - margin, 0), min(int(filled[-1]) + margin, shape[axis] - 1)
            corner.append(first)
            size.append(last - first + 1)
        return {"corner": tuple(corner), "size": tuple(size), "before": shape}


@TRANSFORMS.register_module()
class CropBody3D(CropForeground3D):
    """Cut away what surrounds the body, judging by the image alone, so that training and test do the same to a scan.

    In CT that is what lies below -500 Hounsfield units, elsewhere zeros. A scan stays whole where nothing lies above
    that, or where, in no CT, something is negative: 0 is a value like others then.

    Args:
        ct: whether all channels are in Hounsfield units.
    """

    def __init__(self, *, ct: bool):
        super().__init__(threshold=BODY_HU if ct else 0)
        self.ct = ct

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        array = np.asarray(sample.image.array)
        if array.max() <= self.threshold or (array.min() < 0 and not self.ct):
            return {"corner": (0, 0, 0), "size": sample.image.shape, "before": sample.image.shape}
        return super().draw(sample, rng)


def _around(shape: tuple[int, ...], least: Sequence[int]) -> dict[str, Any]:
    """What ``Cut`` wants to know to surround ``shape`` evenly until it has ``least`` voxels; none is cut away."""
    size = tuple(max(have, want) for have, want in zip(shape, least, strict=True))
    corner = tuple(have // 2 - want // 2 for have, want in zip(shape, size, strict=True))
    return {"corner": corner, "size": size, "before": shape}
