"""Positions learnt on pictures for the tokens of larger pictures and of windows; pure functions on tensors.

A grid (d, h, w) counts tokens along depth, rows and columns; the patch grid of a picture has d = 1.
"""

from math import isqrt, log

import numpy as np
import torch
from scipy.interpolate import RectBivariateSpline
from torch import Tensor
from torch.nn import functional

Grid = tuple[int, int, int]
CLS_ROWS = 3  # behind a table of relative positions: class token to token, token to class token, class token to itself


def relative_rows(grid: Grid) -> int:
    """How many rows a table of relative positions has: one for each offset, and ``CLS_ROWS``."""
    depth, height, width = grid
    return (2 * depth - 1) * (2 * height - 1) * (2 * width - 1) + CLS_ROWS


def relative_index(grid: Grid) -> Tensor:
    """(1 + L, 1 + L) the row of the table for each pair of query and key; the class token is the first of both.

    Rows are ordered by the offset in depth, then in height, then in width (BEiT, Bao et al. 2022, section 2.2, whose
    tables are those of one offset in depth).
    """
    rows = relative_rows(grid)
    places_3L = torch.stack(torch.meshgrid(*map(torch.arange, grid), indexing="ij")).flatten(1)
    offsets_3LL = places_3L[:, :, None] - places_3L[:, None, :]
    index = torch.empty((1 + places_3L.shape[1],) * 2, dtype=torch.long)
    row = torch.zeros_like(offsets_3LL[0])
    for offset, side in zip(offsets_3LL, grid, strict=True):
        row = row * (2 * side - 1) + offset + side - 1
    index[1:, 1:] = row
    index[0, :], index[:, 0], index[0, 0] = rows - 3, rows - 2, rows - 1
    return index


def fit_relative_positions(table: Tensor, grid: Grid) -> Tensor:
    """A table (rows, heads) of a square picture for the tokens of ``grid``.

    Offsets along height and width are interpolated by BEiT's cubic spline, whose knots move apart geometrically
    (``offsets``), so that near offsets keep their values; fewer offsets are those in the middle. Every offset in depth
    takes the table of the picture. Where there are d > 1 tokens along depth, the class token, which is one only, is
    raised by log d as a key: a window of equal slices is then attended to exactly as the picture was.

    Raises:
        ValueError: the table is of no square picture.
    """
    depth, *plane = grid
    side = isqrt(len(table) - CLS_ROWS)
    if side**2 != len(table) - CLS_ROWS or side % 2 == 0:
        raise ValueError(f"a table of {len(table)} relative positions is of no square picture, and cannot be resized")
    wanted = [2 * count - 1 for count in plane]
    picture = table[:-CLS_ROWS]
    if wanted != [side, side]:
        knots = [offsets(side, new) for new in wanted]
        places = [np.arange(new) - new // 2 for new in wanted]
        maps = picture.T.reshape(-1, side, side).double().cpu().numpy()
        resized = [RectBivariateSpline(*knots, values, s=0)(*places) for values in maps]
        picture = torch.from_numpy(np.stack(resized)).to(table).flatten(1).T
    cls = table[-CLS_ROWS:] + table.new_tensor([[0], [log(depth)], [log(depth)]])
    return torch.cat([picture.repeat(2 * depth - 1, 1), cls])


def offsets(side: int, wanted: int) -> np.ndarray:
    """(``side``,) the offsets, in tokens of the larger picture, at which a table of ``side`` offsets stands there.

    They are 0, 1, 1 + q, 1 + q + q^2 and so on in both directions, with the q for which the last is ``wanted // 2``,
    found by bisection as in BEiT's code (github.com/microsoft/unilm); where none must be moved apart, 0, 1, 2, ...
    """
    count, last, ratio = side // 2, wanted // 2, 1.0
    low, high = 1.01, 1.5
    while last > count and high - low > 1e-6:
        ratio = (low + high) / 2
        too_far = (1 - ratio**count) / (1 - ratio) > last
        low, high = (low, ratio) if too_far else (ratio, high)
    steps = np.cumsum(ratio ** np.arange(count))
    return np.concatenate([-steps[::-1], [0.0], steps])


def fit_absolute_positions(positions: Tensor, grid: Grid) -> Tensor:
    """Positions (1, 1 + s * s, C) of a square picture's tokens, the class token's first, for those of ``grid``.

    Bicubic; every slice takes those of the picture; the class token keeps its own.

    Raises:
        ValueError: they are of no square picture.
    """
    depth, *plane = grid
    cls, patches = positions[:, :1], positions[:, 1:]
    side = isqrt(patches.shape[1])
    if side**2 != patches.shape[1]:
        raise ValueError(
            f"its table has {positions.shape[1]} positions; those of a square image and one class token were expected. "
            "Files without class token, with register tokens or of other images fit WindowEncoder(model='timm.NAME')"
        )
    if plane != [side, side]:
        maps = patches.transpose(1, 2).unflatten(2, (side, side))
        patches = functional.interpolate(maps, plane, mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)
    return torch.cat([cls, patches.repeat(1, depth, 1)], dim=1)
