"""Slabs: the scores of a scan a few planes at a time, (K, planes, rows, columns), along whichever axis they come."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# Sizes, corners and shapes in this file are in the slabs' own order of axes: planes, rows, columns.


def cropped(slabs: Iterable[Tensor], corner: Sequence[int], size: Sequence[int]) -> Iterator[Tensor]:
    """The part of the slabs within the box of ``size`` voxels whose first is ``corner``."""
    rows, columns = (slice(low, low + count) for low, count in zip(corner[1:], size[1:], strict=True))
    first = 0
    for scores in slabs:
        last = first + scores.shape[1]
        low, high = max(corner[0], first), min(corner[0] + size[0], last)
        if low < high:
            yield scores[:, low - first : high - first, rows, columns]
        first = last


def resampled(slabs: Iterable[Tensor], size: Sequence[int], new: Sequence[int]) -> Iterator[Tensor]:
    """The same extent in ``new`` voxels instead of ``size``, trilinear as ``vdt3d.transforms.grid.resize``, one plane
    at a time.
    """
    position = np.clip((np.arange(new[0]) + 0.5) * size[0] / new[0] - 0.5, 0, size[0] - 1)
    below = np.floor(position).astype(int)
    above = np.minimum(below + 1, size[0] - 1)
    first = made = 0
    before = None  # the last plane of the slab before this one
    for scores in slabs:
        last = first + scores.shape[1]
        while made < new[0] and above[made] < last:
            low = before if below[made] < first else scores[:, below[made] - first]
            plane = torch.lerp(low, scores[:, above[made] - first], position[made] - below[made])
            plane = functional.interpolate(plane[None], tuple(new[1:]), mode="bilinear", align_corners=False)
            yield plane.movedim(0, 1)
            made += 1
        first, before = last, scores[:, -1].clone()


def likeliest(scores: Tensor) -> Tensor:
    """The label with the greatest of the scores (K, ...), the first of equals; of a single score, whether it is > 0.

    Class after class, which on a CPU is several times faster than ``argmax`` over the first axis.
    """
    if len(scores) == 1:
        return (scores[0] > 0).byte()
    greatest = scores[0].clone()
    labels = torch.zeros_like(greatest, dtype=torch.uint8 if len(scores) <= 256 else torch.int32)
    for label, score in enumerate(scores[1:], start=1):
        labels.masked_fill_(score > greatest, label)
        torch.maximum(greatest, score, out=greatest)
    return labels
