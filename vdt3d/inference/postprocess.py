"""Cleaning label maps (1, D, H, W) by their connected components: the largest, holes, the very small."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import cc3d
import numpy as np

from vdt3d.registry import TASK_UTILS
from vdt3d.structures import LabelMap


@TASK_UTILS.register_module()
def keep_largest(
    label_map: LabelMap, groups: Iterable[int | Sequence[int]] | None = None, *, connectivity: int = 26
) -> LabelMap:
    """Keep the largest component of each group of labels, the first of equals; what else bears them becomes 0.

    Args:
        groups: labels, or sequences of labels that count as one thing; by default every label by itself.
            ``[(1, 2)]`` with ``connectivity=6`` is the published rule for LiTS: the largest piece of liver and tumour
            together. Labels in no group stay.
        connectivity: 6 (voxels share a face), 18 (an edge) or 26 (a corner).
    """
    array_DHW = np.array(label_map.array[0])
    for box, mask in _masks(array_DHW, groups):
        parts = _components(mask, connectivity)
        counts = np.bincount(parts.ravel())
        counts[0] = 0
        array_DHW[box][mask & (parts != counts.argmax())] = 0
    return label_map.replace(array=array_DHW[None])


@TASK_UTILS.register_module()
def remove_small(label_map: LabelMap, min_mm3: float, *, labels: Iterable[int] | None = None) -> LabelMap:
    """Set components (26 neighbours) of less than ``min_mm3`` to 0, for each of ``labels`` (default: all).

    Raises:
        ValueError: the volume is negative.
    """
    if min_mm3 < 0:
        raise ValueError(f"min_mm3={min_mm3}: a volume is not negative")
    voxel_mm3 = abs(np.linalg.det(label_map.affine[:3, :3]))
    least = np.ceil(min_mm3 / voxel_mm3 - 1e-6)  # voxels; the volume of one is rounded
    array_DHW = np.array(label_map.array[0])
    for box, mask in _masks(array_DHW, labels):
        parts = _components(mask, 26)
        small = np.bincount(parts.ravel()) < least
        small[0] = False
        array_DHW[box][small[parts]] = 0
    return label_map.replace(array=array_DHW[None])


@TASK_UTILS.register_module()
def fill_holes(label_map: LabelMap, *, labels: Iterable[int] | None = None) -> LabelMap:
    """Give background that one of ``labels`` (default: all) encloses on all sides that label.

    Holes are judged in 3D: a way out through a face of a voxel, also to the border of the scan, makes it none. Other
    labels inside a hole stay as they are.
    """
    array_DHW = np.array(label_map.array[0])
    for box, mask in _masks(array_DHW, labels):
        around = _components(np.pad(~mask, 1, constant_values=True), 6)
        inside = (around != around[0, 0, 0])[1:-1, 1:-1, 1:-1]
        part = array_DHW[box]
        part[inside & (part == 0)] = part[mask][0]
    return label_map.replace(array=array_DHW[None])


class PostProcess:
    """Steps in order, each a dict of ``type`` ("keep_largest", "remove_small", "fill_holes") and its arguments.

    With ``overlapping=True`` labels are sums of bits, as of organs that overlap
    (``vdt3d.structures.overlapping_classes``): the step is applied to each organ by itself, where it is label 1.

    Raises:
        UnknownTypeError: no step is registered under that name.
    """

    def __init__(self, steps: Sequence[dict] = ()):
        self.steps = [_step(dict(step)) for step in steps]

    def __call__(self, label_map: LabelMap) -> LabelMap:
        for step in self.steps:
            label_map = step(label_map)
        return label_map


def _step(options: dict) -> Callable[[LabelMap], LabelMap]:
    overlapping = options.pop("overlapping", False)
    step = partial(TASK_UTILS.get(options.pop("type")), **options)
    return partial(_bit_by_bit, step) if overlapping else step


def _bit_by_bit(step: Callable[[LabelMap], LabelMap], label_map: LabelMap) -> LabelMap:
    array = np.asarray(label_map.array)
    result = np.zeros_like(array)
    for bit in range(int(array.max()).bit_length()):
        result |= step(label_map.replace(array=array >> bit & 1)).array << bit
    return label_map.replace(array=result)


def _components(mask: np.ndarray, connectivity: int) -> np.ndarray:
    """Numbers of the components of ``mask``, from 1, in the order of their first voxels."""
    # As bytes: of booleans cc3d 4.1 underestimates the components in rows of one voxel, and gives up.
    return cc3d.connected_components(mask.view(np.uint8), connectivity=connectivity)


def _masks(
    array_DHW: np.ndarray, groups: Iterable[int | Sequence[int]] | None
) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
    """For each group that occurs: its bounding box, and within it where its labels are."""
    if groups is None:
        groups = (np.flatnonzero(np.bincount(array_DHW.ravel())[1:]) + 1).tolist()
    for group in groups:
        mask = np.isin(array_DHW, group)
        if mask.any():
            box = tuple(
                slice(filled[0], filled[-1] + 1)
                for axis in range(3)
                for filled in [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))]
            )
            yield box, mask[box]
