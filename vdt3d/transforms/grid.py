"""Moves of a grid: a new array, and the affine that keeps every voxel in its place; axes 0, 1, 2 are D, H, W."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch.nn import functional

from vdt3d.structures import LabelMap
from vdt3d.transforms.base import Grid


def cut(volume: Grid, corner: Sequence[int], size: Sequence[int], fill: float | Literal["min"] = 0) -> Grid:
    """The box of ``size`` voxels whose first is ``corner``; it overlaps the volume.

    What reaches out of the volume is ``fill``; "min" stands for the least value of each channel in the box. Integers
    among which ``fill`` is none become float32. Of an array that lies in a file only the box is read.
    """
    corner, size, shape = np.array(corner), np.array(size), np.array(volume.shape)
    low, high = np.clip(corner, 0, shape), np.clip(corner + size, 0, shape)
    kept = np.asarray(volume.array[:, *map(slice, low.tolist(), high.tolist())])
    if (high - low == size).all():
        return _moved(volume, kept, shift=corner)
    with np.errstate(invalid="ignore"):
        fits = fill == "min" or np.array(fill).astype(kept.dtype) == fill
    array = np.empty((len(kept), *size.tolist()), kept.dtype if fits else np.float32)
    array[:] = kept.min(axis=(1, 2, 3), keepdims=True) if fill == "min" else fill
    array[:, *map(slice, (low - corner).tolist(), (high - corner).tolist())] = kept
    return _moved(volume, array, shift=corner)


def flip(volume: Grid, axes: Sequence[int]) -> Grid:
    """Mirror along ``axes``."""
    sign, shift = np.ones(3), np.zeros(3)
    for axis in axes:
        sign[axis], shift[axis] = -1, volume.shape[axis] - 1
    return _moved(volume, np.flip(np.asarray(volume.array), [1 + axis for axis in axes]), np.diag(sign), shift)


def permute(volume: Grid, order: Sequence[int]) -> Grid:
    """Put the axes into another order: the new axis ``k`` is the old axis ``order[k]``."""
    array = np.asarray(volume.array).transpose(0, *(1 + axis for axis in order))
    return _moved(volume, array, np.eye(3)[:, list(order)])


def turn(volume: Grid, plane: tuple[int, int], quarters: int) -> Grid:
    """Turn by ``quarters`` of a circle, from the first axis of ``plane`` to the second, as ``numpy.rot90`` does."""
    first, second = plane
    order = [0, 1, 2]
    order[first], order[second] = second, first
    for _ in range(quarters % 4):
        volume = permute(flip(volume, [second]), order)
    return volume


def resize(volume: Grid, size: Sequence[int], *, area: bool = False) -> Grid:
    """The same extent in ``size`` voxels: images trilinear, as float32; labels by the nearest voxel, their type kept.

    Trilinear, nothing is smoothed beforehand: shrinking by more than about two leaves out voxels. With ``area``, images
    are averaged, and none is left out.
    """
    step = np.divide(volume.shape, size)
    shift = (step - 1) / 2  # voxels are cells: the outer faces of the first cells meet, not their centres
    values = averaged if area else trilinear
    array = (nearest if isinstance(volume, LabelMap) else values)(volume.array, size)
    return _moved(volume, array, np.diag(step), shift)


def nearest(array: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """(C, D, H, W) in ``size`` voxels, each with the value of the old cell that holds its centre."""
    # In whole numbers, so that rounding decides no tie.
    index = [(2 * np.arange(new) + 1) * old // (2 * new) for old, new in zip(array.shape[1:], size, strict=True)]
    return np.asarray(array)[:, *np.ix_(*index)]


def trilinear(array: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """(C, D, H, W) in ``size`` voxels, as float32, interpolated between the old centres."""
    array_CDHW = np.ascontiguousarray(array, dtype=np.float32)
    if tuple(size) == array_CDHW.shape[1:]:
        return array_CDHW
    tensor = torch.from_numpy(array_CDHW)
    depth, *plane = size
    if depth == tensor.shape[1]:  # slice by slice
        return functional.interpolate(tensor, plane, mode="bilinear", align_corners=False).numpy()
    return functional.interpolate(tensor[None], tuple(size), mode="trilinear", align_corners=False)[0].numpy()


def averaged(array: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """(C, D, H, W) in ``size`` voxels, as float32: each the mean of the old cells that it touches, however little."""
    array_CDHW = np.ascontiguousarray(array, dtype=np.float32)
    if tuple(size) == array_CDHW.shape[1:]:
        return array_CDHW
    return functional.adaptive_avg_pool3d(torch.from_numpy(array_CDHW), tuple(size)).numpy()


def _moved(volume: Grid, array: np.ndarray, axes: np.ndarray | None = None, shift: Sequence[float] = (0, 0, 0)) -> Grid:
    """``volume`` with a new ``array`` whose index ``j`` stands for the old index ``axes @ j + shift``."""
    to_old = np.eye(4)
    to_old[:3, :3] = np.eye(3) if axes is None else axes
    to_old[:3, 3] = shift
    return volume.replace(array=array, affine=volume.affine @ to_old)
