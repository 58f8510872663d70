"""The way from the grid of a network's input back to the scan's own: as far as it can be gone with scores."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vdt3d.structures import LabelMap
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


def _pads(corner: Sequence[int], size: Sequence[int], before: Sequence[int]) -> bool:
    """Whether the cut left all the ``before`` voxels in."""
    return all(low <= 0 and low + now >= had for low, now, had in zip(corner, size, before, strict=True))
