"""Distances between the surfaces of two masks (D, H, W), under the named definitions of the tools the field uses.

Four scores, after Heimann et al. 2009 and, for the last, Nikolov et al. 2021:

* ``hd95``: 95th percentile of the distances from each surface to the nearest point of the other, in mm.
* ``assd``: the mean of the distances in both directions, the average symmetric surface distance, in mm.
* ``mssd``: the largest of them, the Hausdorff distance, in mm.
* ``nsd``: the share of both surfaces within ``tolerance`` mm of the other, the normalised surface Dice, 0..1.

What a surface is and how hd95 joins the two directions differs from tool to tool, so a number needs its definition:

============  =====================================================  ===============================================
definition    surface                                                hd95
============  =====================================================  ===============================================
``monai``     voxels with one of six neighbours outside the mask;    larger of the two directions' percentiles
              beyond the volume lies background
``medpy``     as ``monai``                                           percentile of both directions' distances joined
``chaos``     as ``monai``, but beyond the volume the mask goes on:  as ``monai``
              where the volume's edge cuts it, it has no surface
``lits``      voxels with one of 18 neighbours (faces and edges)     as ``monai``
              outside the mask; beyond the volume lies background
``deepmind``  corners where eight voxels meet that are not all       as ``monai``, but the smallest distance within
              alike, weighted in all scores by the area that         which 95 % of the area lies
              marching cubes give them
============  =====================================================  ===============================================

CHAOS and LiTS report ``assd`` and ``mssd`` only, medpy (0.5) no ``nsd``; the other scores follow from the definition's
surface. DeepMind's library gives the mean distance for each direction; ``assd`` is their mean weighted by area.

A volume of one slice is scored in its plane, as these tools score images: neighbours above and below do not count, and
``deepmind`` weights by the length of the contour.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple, get_args

import numpy as np
from scipy.ndimage import binary_erosion, find_objects, generate_binary_structure
from scipy.spatial import cKDTree

Definition = Literal["monai", "medpy", "chaos", "lits", "deepmind"]
DEFINITIONS: tuple[Definition, ...] = get_args(Definition)
SCORES = ("hd95", "assd", "mssd", "nsd")


class _Side(NamedTuple):
    """One surface: mm from each of its elements to the other surface (n,), and what each element counts (n,)."""

    distances: np.ndarray
    areas: np.ndarray


def surface_scores(
    guess: np.ndarray,
    truth: np.ndarray,
    spacing: Sequence[float],
    *,
    definition: Definition = "monai",
    tolerance: float = 1.0,
) -> dict[str, float]:
    """``hd95``, ``assd``, ``mssd`` and ``nsd`` of two masks.

    Where one mask has no surface the distances are inf and ``nsd`` is 0; where neither has, all are nan. (MONAI says
    the same, but for the 95th percentile of infinite distances, which it computes as nan.)

    Args:
        guess: booleans (D, H, W).
        truth: likewise; the scores are the same with both exchanged.
        spacing: (z, y, x) in mm.
        definition: see the head of this file.
        tolerance: of ``nsd``, in mm; compared in single precision, so that rounding does not decide about a distance
            of just that length.

    Raises:
        ValueError: no booleans, no three axes, shapes that differ, a spacing that is not positive, an unknown
            definition or a negative tolerance.
    """
    _check(guess, truth, spacing, definition, tolerance)
    guess, truth, spacing = _in_plane(guess, truth, spacing)
    box = surrounding_box(guess | truth)
    if box is None:
        return dict.fromkeys(SCORES, np.nan)
    rule, percentile = _RULES[definition]
    (one, one_areas), (other, other_areas) = (rule(mask[box], spacing) for mask in (guess, truth))
    if not one.any() or not other.any():
        away = np.inf if one.any() or other.any() else np.nan
        return {"hd95": away, "assd": away, "mssd": away, "nsd": 0.0 if away == np.inf else np.nan}
    sides = _Side(_distances(one, other, spacing), one_areas), _Side(_distances(other, one, spacing), other_areas)
    area = sum(side.areas.sum() for side in sides)
    within = [side.areas[side.distances.astype(np.float32) <= np.float32(tolerance)].sum() for side in sides]
    return {
        "hd95": float(percentile(*sides)),
        "assd": float(sum(side.distances @ side.areas for side in sides) / area),
        "mssd": float(max(side.distances.max() for side in sides)),
        "nsd": float(sum(within) / area),
    }


def hausdorff_distance(guess: np.ndarray, truth: np.ndarray, spacing: Sequence[float]) -> float:
    """The largest distance from a voxel of either mask to the nearest voxel of the other, in mm; voxels are points.

    Unlike ``mssd`` it asks for the voxels inside as well: the middle of a ball is far from a shell around it, though
    the surfaces meet. As scipy's ``directed_hausdorff`` both ways, of all voxels. inf where one mask is empty, nan
    where both are.

    Args:
        guess: booleans (D, H, W).
        truth: likewise.
        spacing: (z, y, x) in mm.

    Raises:
        ValueError: no booleans, no three axes, shapes that differ, a spacing that is not positive.
    """
    _check(guess, truth, spacing, "monai", 0)
    box = surrounding_box(guess | truth)
    if box is None:
        return np.nan
    one, other = guess[box], truth[box]
    if not one.any() or not other.any():
        return np.inf
    # Seen from a voxel outside, the nearest one of a mask is always on its surface.
    ways = ((one & ~other, other), (other & ~one, one))
    return max(
        float(_distances(start, _voxels(end, spacing, beyond=False)[0], spacing).max(initial=0)) for start, end in ways
    )


def _in_plane(
    guess: np.ndarray, truth: np.ndarray, spacing: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, Sequence[float]]:
    """Return both masks and their spacing without the axis along which there is one slice, if there is one."""
    if 1 not in guess.shape:
        return guess, truth, spacing
    axis = guess.shape.index(1)
    return guess.squeeze(axis), truth.squeeze(axis), [step for k, step in enumerate(spacing) if k != axis]


def surrounding_box(mask: np.ndarray) -> tuple[slice, ...] | None:
    """The smallest box that holds all of ``mask``, and one voxel more on every side where the volume has it.

    That voxel tells the rules where the volume truly ends. None for an empty mask.
    """
    (box,) = find_objects(mask.view(np.uint8), max_label=1)
    return None if box is None else grown(box)


def grown(box: Sequence[slice]) -> tuple[slice, ...]:
    """``box`` and one voxel more on every side; beyond the volume a slice takes what there is."""
    return tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)


def _distances(start: np.ndarray, end: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Millimetres from each element of ``start`` (booleans on one grid, in C order) to the nearest of ``end``.

    A tree of points is faster than a distance transform until a fifth of all voxels are surface, as in noise.
    """
    distances = np.zeros(np.count_nonzero(start))
    away = ~end[start]  # where both surfaces run together there is nothing to search
    if away.any():
        tree = cKDTree(np.argwhere(end) * spacing, balanced_tree=False)
        distances[away] = tree.query(np.argwhere(start & ~end) * spacing)[0]
    return distances


def _voxels(mask: np.ndarray, spacing: Sequence[float], *, beyond: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the voxels of ``mask`` with one of six neighbours (in a plane four) outside it, each counting 1.

    Beyond the volume the mask goes on everywhere (``beyond``) or nowhere.
    """
    padded = np.pad(mask, 1, constant_values=beyond)
    inside = mask.copy()
    for axis in range(mask.ndim):
        for shift in (slice(None, -2), slice(2, None)):
            inside &= padded[tuple(shift if k == axis else slice(1, -1) for k in range(mask.ndim))]
    surface = mask & ~inside
    return surface, np.ones(np.count_nonzero(surface))


def _edge_voxels(mask: np.ndarray, spacing: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the voxels of ``mask`` with one of 18 neighbours (in a plane eight) outside it, each counting 1."""
    surface = mask & ~binary_erosion(mask, generate_binary_structure(mask.ndim, 2))
    return surface, np.ones(np.count_nonzero(surface))


def _cubes(mask: np.ndarray, spacing: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners at which voxels of ``mask`` and others meet, on a grid half a voxel off, and the area at each.

    The area (mm2) is that of the triangles that marching cubes puts between eight voxels, in a plane the length (mm) of
    the contour between four pixels; DeepMind tabulated both, and MONAI has the tables.
    """
    from monai.metrics.utils import get_code_to_measure_table  # takes seconds, and one definition needs it

    padded = np.pad(mask, 1).view(np.uint8)
    code = np.zeros([n - 1 for n in padded.shape], np.uint8)
    corners = 2**mask.ndim
    for bit, corner in enumerate(np.ndindex(*[2] * mask.ndim)):  # the first corner has the highest bit
        part = padded[tuple(slice(c, n - 1 + c) for c, n in zip(corner, padded.shape, strict=True))]
        code |= part << (corners - 1 - bit)
    surface = (code != 0) & (code != 2**corners - 1)
    areas, _ = get_code_to_measure_table([float(step) for step in spacing])
    return surface, areas.numpy().astype(float)[code[surface]]


def _larger_percentile(*sides: _Side) -> float:
    return max(np.percentile(side.distances, 95) for side in sides)


def _joined_percentile(*sides: _Side) -> float:
    return np.percentile(np.concatenate([side.distances for side in sides]), 95)


def _larger_percentile_of_area(*sides: _Side) -> float:
    """The larger of both directions' smallest distance within which 95 % of the area lies."""
    return max(map(_percentile_of_area, sides))


def _percentile_of_area(side: _Side) -> float:
    order = side.distances.argsort()
    share = side.areas[order].cumsum() / side.areas.sum()
    return side.distances[order[min(np.searchsorted(share, 0.95), len(order) - 1)]]


# What the surface is, and its 95th percentile.
_RULES: dict[str, tuple[Callable, Callable[..., float]]] = {
    "monai": (partial(_voxels, beyond=False), _larger_percentile),
    "medpy": (partial(_voxels, beyond=False), _joined_percentile),
    "chaos": (partial(_voxels, beyond=True), _larger_percentile),
    "lits": (_edge_voxels, _larger_percentile),
    "deepmind": (_cubes, _larger_percentile_of_area),
}


def _check(
    guess: np.ndarray, truth: np.ndarray, spacing: Sequence[float], definition: Definition, tolerance: float
) -> None:
    if guess.dtype != bool or truth.dtype != bool or guess.ndim != 3 or guess.shape != truth.shape:
        raise ValueError(
            f"two masks of booleans (D, H, W) are compared; got {guess.dtype} {guess.shape} and {truth.dtype} "
            f"{truth.shape}"
        )
    if len(spacing) != 3 or not all(0 < step < np.inf for step in spacing):
        raise ValueError(f"a spacing is three positive numbers (z, y, x) in mm, got {spacing}")
    if definition not in DEFINITIONS:
        raise ValueError(f"definition={definition!r} is unknown; choose one of {DEFINITIONS}")
    if not 0 <= tolerance < np.inf:
        raise ValueError(f"the tolerance of nsd is a distance in mm, not {tolerance!r}")
