"""Fingerprints: the lowest cosine waves of a scan or picture, alike for copies of any resolution, scale and type.

A copy with noise, of other voxels or in another integer type has nearly the same spectrum; a mirrored one has the same
but for the signs of its odd waves, and one with two axes exchanged has them exchanged. Arrays are (D, H, W) or (H, W).
"""

from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np

WAVES = {2: 24, 3: 12}  # along each axis, by the number of axes
COARSE = {2: 10.0, 3: 6.0}  # half periods: up to here a wave is of the coarse band, beyond it of the fine one
ENDS = (0.5, 99.5)  # percentiles that values are cut off at
SAMPLED = 500_000  # values that percentiles are taken of


class Motion(NamedTuple):
    """A way a copy may lie: its axes exchanged (pictures only), then mirrored along ``axes``."""

    axes: tuple[int, ...]
    exchanged: bool = False

    def inverse(self) -> "Motion":
        """The motion back: what is mirrored after an exchange is mirrored along the other axis before it."""
        return Motion(tuple(sorted(1 - axis for axis in self.axes)), True) if self.exchanged else self

    def words(self, axes: int) -> str:
        """What was done, for people; "" where nothing was."""
        mirrored = f"mirrored along {', '.join('DHW'[axis - axes] for axis in self.axes)}" if self.axes else ""
        return ", then ".join(filter(None, ("axes exchanged" if self.exchanged else "", mirrored)))


def motions(axes: int) -> list[Motion]:
    """The eight ways of ``axes`` 2 (flips and quarter turns) or 3 (flips); the first is to stay."""
    flips = [tuple(np.flatnonzero(chosen).tolist()) for chosen in product((0, 1), repeat=axes)]
    return [Motion(flip, exchanged) for exchanged in ((False, True) if axes == 2 else (False,)) for flip in flips]


def ends(array: np.ndarray) -> tuple[float, float]:
    """The values at both ``ENDS``, of a choice of all; of nearly constant arrays, as masks are, the extremes."""
    low, high = np.percentile(sampled(array), ENDS).tolist()
    return (low, high) if low < high else (float(array.min()), float(array.max()))


def sampled(array: np.ndarray) -> np.ndarray:
    """At most twice ``SAMPLED`` of the values, spread evenly."""
    step = max(1, array.size // SAMPLED)
    return array.reshape(-1)[:: step + (step % 2 == 0)]  # odd, for sides are even


def spectrum(array: np.ndarray, limits: tuple[float, float], axes: int) -> np.ndarray:
    """(..., WAVES**axes) float16 waves along the last ``axes`` axes of an array cut off at ``limits``.

    The mean is left out and the length is one; where all is constant, all waves are 0.
    """
    waves = array.clip(*limits).astype(np.float32)
    for axis in range(-axes, 0):
        waves = np.moveaxis(np.tensordot(waves, _cosines(waves.shape[axis], WAVES[axes]), (axis, 1)), -1, axis)
    waves = waves.reshape(*waves.shape[:-axes], -1)
    waves[..., 0] = 0
    length = np.linalg.norm(waves, axis=-1, keepdims=True)
    present = length > 1e-5 * max(abs(limits[0]), abs(limits[1]), limits[1] - limits[0])
    return np.divide(waves, length, out=np.zeros_like(waves), where=present).astype(np.float16)


@lru_cache(maxsize=256)
def _cosines(count: int, waves: int) -> np.ndarray:
    """(waves, count) the type-II cosines over ``count`` voxels; of a wave too short for the voxels, zeros."""
    order = np.arange(waves)[:, None]
    cosines = np.cos(np.pi * order * (np.arange(count) + 0.5) / count) * np.sqrt(2) / count
    return np.where(order < count, cosines, 0).astype(np.float32)


class Bands(NamedTuple):
    """Which waves of a flat spectrum are coarse, which fine, and where each motion takes the coarse ones.

    Fields:
        coarse, fine: indices of the waves.
        weights: of all waves: their frequency, since the spectra of pictures and bodies fall with it.
        moved: of each motion the index (waves) that a wave is taken from, and its sign.
    """

    coarse: np.ndarray
    fine: np.ndarray
    weights: np.ndarray
    moved: list[tuple[np.ndarray, np.ndarray]]


@lru_cache(maxsize=2)
def bands(axes: int) -> Bands:
    """The bands of spectra of ``axes`` axes."""
    order = np.stack(np.meshgrid(*[np.arange(WAVES[axes])] * axes, indexing="ij")).reshape(axes, -1)
    frequency = np.linalg.norm(order, axis=0).astype(np.float32)
    place = np.arange(frequency.size).reshape([WAVES[axes]] * axes)
    moved = []
    for motion in motions(axes):
        source = (place.T if motion.exchanged else place).reshape(-1)
        odd = order[list(motion.axes)].sum(axis=0) % 2
        moved.append((source, np.where(odd, -1, 1).astype(np.float32)))
    coarse = frequency <= COARSE[axes]
    return Bands(np.flatnonzero(coarse & (frequency > 0)), np.flatnonzero(~coarse), frequency, moved)
