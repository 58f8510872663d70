"""The same extent in more or fewer voxels; images interpolated or averaged, labels nearest; undone by sampling back."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vdt3d.registry import TRANSFORMS
from vdt3d.structures import Sample
from vdt3d.transforms.base import Grid, SpatialTransform, positive_range, settled, sides, triple
from vdt3d.transforms.grid import resize


class Resampling(SpatialTransform):
    """Samples the extent of the volume with the ``size`` (D, H, W) that ``draw`` names, ``before`` saying how it was.

    Shrinking does not smooth beforehand: by more than about two it leaves out voxels.
    """

    def apply(self, volume: Grid, size: tuple[int, ...], before: tuple[int, ...]) -> Grid:
        return resize(volume, size)

    def undo(self, volume: Grid, size: tuple[int, ...], before: tuple[int, ...]) -> Grid:
        return resize(volume, before)


@TRANSFORMS.register_module()
class Resize3D(Resampling):
    """Sample the same extent with ``size`` (D, H, W) voxels; None keeps the number along that axis."""

    def __init__(self, size: int | Sequence[int | None]):
        self.size = sides(size)

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        before = sample.image.shape
        return {"size": settled(self.size, before), "before": before}


@TRANSFORMS.register_module()
class ResampleSpacing3D(Resampling):
    """Sample the same extent at the ``spacing`` (z, y, x) in mm; None keeps the spacing along that axis.

    Since the extent is kept and voxels are whole, the spacing is met up to half a voxel over the length of the axis;
    the affine says what came out.

    Raises:
        ValueError: a spacing is not positive, or there are not three.
    """

    def __init__(self, spacing: Sequence[float | None]):
        self.spacing = tuple(spacing)
        if len(self.spacing) != 3 or any(step is not None and not 0 < step < np.inf for step in self.spacing):
            raise ValueError(f"a spacing is three positive numbers (z, y, x) in mm, or None to keep; got {spacing!r}")

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        image = sample.image
        size = [
            have if wanted is None else max(1, round(have * step / wanted))
            for have, step, wanted in zip(image.shape, image.spacing, self.spacing, strict=True)
        ]
        return {"size": tuple(size), "before": image.shape}


@TRANSFORMS.register_module()
class RandomResize3D(Resampling):
    """Zoom height and width by one ratio, uniform in ``scale``; the number of slices stays.

    Published augmentation of abdominal CT: bilinear, to ``int(ratio * side)`` pixels, at least one. The ratio applies
    to whatever the slices are, so a crop before it does not change the magnification.

    Args:
        scale: the least and the greatest ratio; 1 keeps the size.

    Raises:
        ValueError: the ratios are not positive and in order.
    """

    def __init__(self, *, scale: tuple[float, float] = (0.8, 1.2)):
        self.scale = positive_range(scale, "scale")

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        before, ratio = sample.image.shape, rng.uniform(*self.scale)
        depth, *plane = before
        return {"size": (depth, *(max(1, int(ratio * side)) for side in plane)), "before": before}


@TRANSFORMS.register_module()
class RandomChoiceResize3D(Resampling):
    """Zoom the slices so that their longer side is one of ``sizes``, all equally likely; sides keep their ratio.

    The number of slices stays. The published multi-scale training of lesion detectors; a single size leaves nothing to
    chance, as for tests.

    Args:
        sizes: pixels.

    Raises:
        ValueError: there is none, or one is not whole and positive.
    """

    def __init__(self, sizes: Sequence[int] = (384, 448, 512, 576, 640)):
        if not sizes:
            raise ValueError("sizes is empty: name the pixels of the longer side")
        self.sizes = tuple(triple(size)[0] for size in sizes)

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        before, side = sample.image.shape, self.sizes[rng.integers(len(self.sizes))]
        return {"size": _fitted(before, (side, side)), "before": before}


def _fitted(shape: tuple[int, ...], within: Sequence[int]) -> tuple[int, ...]:
    """``shape`` (D, H, W) with H and W zoomed by one ratio to fit ``within`` (H, W)."""
    depth, *plane = shape
    zoom = min(side / have for side, have in zip(within, plane, strict=True))
    return depth, *(max(1, int(have * zoom + 0.5)) for have in plane)


@TRANSFORMS.register_module()
class RandomZoom3D(Resampling):
    """Sample the same extent with ``floor(z * n)`` voxels, at least one, along each side of n; z uniform in ``scale``.

    The published augmentation of TransSeg (Zhang et al. 2022), for windows of slices and volumes. Images are averaged:
    a voxel is the mean of all that it touches. Labels are those of the voxels nearest to the new centres, where the
    release took them from up to one voxel before.

    Args:
        scale: the least and the greatest z.
        in_slices: zoom H and W alone. Published is all three: slices of a window are then blended, and after a crop
            the one in the middle may be any of them.

    Raises:
        ValueError: the factors are not positive and in order.
    """

    def __init__(self, scale: tuple[float, float] = (0.5, 2.0), *, in_slices: bool = False):
        self.scale, self.in_slices = positive_range(scale, "scale"), in_slices

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        before = sample.image.shape
        factor = rng.uniform(*self.scale)
        size = [max(1, int(factor * side)) for side in before]
        if self.in_slices:
            size[0] = before[0]
        return {"size": tuple(size), "before": before}

    def apply(self, volume: Grid, size: tuple[int, ...], before: tuple[int, ...]) -> Grid:
        return resize(volume, size, area=True)
