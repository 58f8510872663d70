"""The way from the grid of a network's input back to the scan's own: as far as it can be gone with scores, or maps."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from vdt3d.structures import LabelMap, Volume
from vdt3d.transforms import Cut, Resampling, SpatialTransform


class WayBack(NamedTuple):
    """What to do with the scores, and then with the labels.

    Args:
        corner, size: the box of the network's grid that is kept; the rest is padding.
        shape: the voxels (D, H, W) over the box's extent on which labels are decided.
        affine: (4, 4), of that grid.
        rest: the transforms still to be undone on the labels, with what they drew, newest first.
    """

    corner: tuple[int, ...]
    size: tuple[int, ...]
    shape: tuple[int, ...]
    affine: np.ndarray
    rest: tuple[tuple[SpatialTransform, dict[str, Any]], ...]


def way_back(history: Sequence[tuple[Any, dict]], shape: tuple[int, ...], affine: np.ndarray) -> WayBack:
    """Plan the way from a grid of ``shape`` and ``affine`` through ``history``, as ``Sample`` keeps it.

    Where the last spatial transform is a resampling, or paddings alone come after it, the scores can be cut and
    interpolated to the grid before it. Otherwise all is left to the labels.
    """
    rest = [(transform, drawn) for transform, drawn in reversed(history) if isinstance(transform, SpatialTransform)]
    frame = LabelMap(np.broadcast_to(np.uint8(0), (1, *shape)), affine)  # a grid without voxels worth keeping
    corner = np.zeros(3, int)
    for undone, (transform, drawn) in enumerate(rest, start=1):
        if isinstance(transform, Resampling):
            before = transform.undo(frame, **drawn)
            return WayBack(tuple(corner.tolist()), frame.shape, before.shape, before.affine, tuple(rest[undone:]))
        if not (isinstance(transform, Cut) and _pads(**drawn)):
            break
        corner -= drawn["corner"]
        frame = transform.undo(frame, **drawn)
    return WayBack((0, 0, 0), tuple(shape), tuple(shape), affine, tuple(rest))


def carried(values: Volume, grid: Volume) -> Volume:
    """Values, float32, on the voxels of another grid, wherever in space it lies: trilinear, and 0 beyond their extent.

    For maps that nothing is to be decided on; the affines alone tell the way.
    """
    to_values = np.linalg.inv(values.affine) @ grid.affine
    array = np.empty((values.channels, *grid.shape), np.float32)
    inside = np.empty(grid.shape, bool)
    where = dict(matrix=to_values, output_shape=grid.shape)
    # Voxels are cells: up to half a voxel beyond the middles of the outer ones their values go on.
    ndimage.affine_transform(np.ones(values.shape, bool), **where, output=inside, order=0, mode="grid-constant")
    for old, new in zip(np.asarray(values.array, np.float32), array, strict=True):
        ndimage.affine_transform(old, **where, output=new, order=1, mode="nearest")
    return Volume(array * inside, grid.affine, grid.stored)


def _pads(corner: Sequence[int], size: Sequence[int], before: Sequence[int]) -> bool:
    """Whether the cut left all the ``before`` voxels in."""
    return all(low <= 0 and low + now >= had for low, now, had in zip(corner, size, before, strict=True))
