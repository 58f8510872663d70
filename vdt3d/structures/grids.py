"""Descriptions of two grids for messages, with the digits that show where they differ."""

import numpy as np

from vdt3d.structures.volume import Volume

DIGITS = (4, 16)  # decimals: at least, and so many that float64 has no more


def describe_grids(one: Volume, other: Volume) -> tuple[str, str]:
    """Return a description of each grid: shape, spacing (z, y, x), first voxel and, where needed, directions.

    Both have as many decimals as it takes to tell the grids apart.
    """
    for digits in range(*DIGITS):
        ours, theirs = (_rounded(volume, digits) for volume in (one, other))
        if one.shape != other.shape or ours != theirs:
            break
    turned = ours[2] != theirs[2] and ours[:2] == theirs[:2]
    return _text(one, ours, turned), _text(other, theirs, turned)


def _rounded(volume: Volume, digits: int) -> tuple[tuple, ...]:
    spacing = np.array(volume.spacing)
    directions = volume.affine[:3, :3] / spacing
    parts = (spacing, volume.affine[:3, 3], directions.T.ravel())
    return tuple(tuple((np.round(part, digits) + 0.0).tolist()) for part in parts)


def _text(volume: Volume, rounded: tuple[tuple, ...], turned: bool) -> str:
    spacing, origin, directions = rounded
    text = f"{volume.shape} voxels of {spacing} mm with the first at {origin} mm"
    axes = ", ".join(f"{directions[3 * axis : 3 * axis + 3]}" for axis in range(3))
    return f"{text} along {axes}" if turned else text
