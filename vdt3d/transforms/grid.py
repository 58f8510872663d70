"""Moves of a grid: a new array, and the affine that keeps every voxel in its place; axes 0, 1, 2 are D, H, W."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from vdt3d.structures import LabelMap
from vdt3d.transforms.base import Grid


def cut(volume: Grid, corner: Sequence[int], size: Sequence[int]) -> Grid:
    """The box of ``size`` voxels whose first is ``corner``; it overlaps the volume, and what reaches out of it is 0."""
    corner, size, shape = np.array(corner), np.array(size), np.array(volume.shape)
    low, high = np.clip(corner, 0, shape), np.clip(corner + size, 0, shape)
    kept = volume.array[:, *map(slice, low, high)]
    margins = np.stack([low - corner, corner + size - high], axis=1)
    return _moved(volume, np.pad(kept, [(0, 0), *margins]), shift=corner)


def flip(volume: Grid, axes: Sequence[int]) -> Grid:
    """Mirror along ``axes``."""
    sign, shift = np.ones(3), np.zeros(3)
    for axis in axes:
        sign[axis], shift[axis] = -1, volume.shape[axis] - 1
    return _moved(volume, np.flip(volume.array, [1 + axis for axis in axes]), np.diag(sign), shift)


def turn(volume: Grid, plane: tuple[int, int], quarters: int) -> Grid:
    """Turn by ``quarters`` of a circle, from the first axis of ``plane`` to the second, as ``numpy.rot90`` does."""
    first, second = plane
    order = np.arange(3)
    order[[first, second]] = second, first
    for _ in range(quarters % 4):
        mirrored = flip(volume, [second])
        volume = _moved(mirrored, mirrored.array.swapaxes(1 + first, 1 + second), np.eye(3)[order])
    return volume


def resize(volume: Grid, size: Sequence[int]) -> Grid:
    """The same extent in ``size`` voxels: images trilinear, as float32; labels by the nearest voxel, their type kept.

    Nothing is smoothed beforehand: shrinking by more than about two leaves out voxels.
    """
    step = np.divide(volume.shape, size)
    shift = (step - 1) / 2  # voxels are cells: the outer faces of the first cells meet, not their centres
    array = _nearest(volume.array, size) if isinstance(volume, LabelMap) else _trilinear(volume.array, size)
    return _moved(volume, array, np.diag(step), shift)


def _nearest(array: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """In whole numbers, so that rounding decides no tie: the cell that holds the centre of the new one."""
    index = [(2 * np.arange(new) + 1) * old // (2 * new) for old, new in zip(array.shape[1:], size, strict=True)]
    return array[:, *np.ix_(*index)]


def _trilinear(array: np.ndarray, size: Sequence[int]) -> np.ndarray:
    tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    return functional.interpolate(tensor[None], tuple(size), mode="trilinear", align_corners=False)[0].numpy()


def _moved(volume: Grid, array: np.ndarray, axes: np.ndarray | None = None, shift: Sequence[float] = (0, 0, 0)) -> Grid:
    """``volume`` with a new ``array`` whose index ``j`` stands for the old index ``axes @ j + shift``."""
    to_old = np.eye(4)
    to_old[:3, :3] = np.eye(3) if axes is None else axes
    to_old[:3, 3] = shift
    return volume.replace(array=array, affine=volume.affine @ to_old)
