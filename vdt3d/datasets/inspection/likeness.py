"""Copies among many spectra, without comparing all with all: random planes deal them to buckets, in several tables.

Two spectra at the angle a lie on the same side of a random plane with chance 1 - a / pi (Charikar 2002), so copies meet
in some table, and most others never do; those that met are compared. The cost grows with the number of spectra, not
with its square.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from vdt3d.datasets.inspection.spectrum import Motion, bands, motions

TABLES = 24
MOST = 32  # of a bucket that one spectrum is compared with; another table has others
COARSE_LIKENESS, FINE_LIKENESS = 0.94, 0.45  # least correlations of copies: docs/inspection.md says what they rest on
JUDGED, SAMPLE = 8, 256  # so many spectra at least, and at most, tell how alike neighbours in the set are
SPREADS = 4.0  # that copies are beyond neighbours
AT_ONCE = 1 << 18  # pairs compared in one step
SHRINKAGE = 8  # as many spectra of zeros enter the mean


class Alike(NamedTuple):
    """Two spectra of which ``second``, so moved, resembles ``first``: the correlation of their coarse waves."""

    first: int
    second: int
    motion: Motion
    likeness: float


def find_alike(spectra: np.ndarray, axes: int, owners: np.ndarray | None = None) -> list[Alike]:
    """The pairs that are copies of one another, each once, as it fits best; what is constant has no copies.

    Args:
        spectra: (N, waves) of ``spectrum``.
        axes: 2 or 3.
        owners: (N,) what each belongs to; pairs within one are not looked for. Default: each is by itself.
    """
    present = np.flatnonzero(np.abs(spectra).max(axis=1, initial=0) > 0)
    if len(present) < 2:
        return []
    owners = np.arange(len(present)) if owners is None else np.unique(owners[present], return_inverse=True)[1]
    band, ways = bands(axes), motions(axes)
    coarse, fine = (_unit(spectra[present][:, part] * band.weights[part]) for part in (band.coarse, band.fine))
    least = max(COARSE_LIKENESS, _usual(coarse, owners))
    tables, best = _Tables(coarse), {}
    for number, (source, sign) in enumerate(band.moved):
        # Both bands hold each wave whose axes are exchanged, too.
        turned, turned_fine = (
            values[:, np.searchsorted(part, source[part])] * sign[part]
            for values, part in ((coarse, band.coarse), (fine, band.fine))
        )
        back = ways.index(ways[number].inverse())
        for first, second in tables.met(turned):
            likeness = np.einsum("nc,nc->n", coarse[first], turned[second])
            passed = np.flatnonzero((likeness >= least) & (owners[first] != owners[second]))
            first, second, likeness = first[passed], second[passed], likeness[passed]
            detailed = np.einsum("nc,nc->n", fine[first], turned_fine[second]) >= FINE_LIKENESS
            found = (part[detailed].tolist() for part in (first, second, likeness))
            for one, other, value in zip(*found, strict=True):
                pair, way = ((one, other), number) if one < other else ((other, one), back)
                if value > best.get(pair, (0.0, 0))[0]:
                    best[pair] = value, way
    return [
        Alike(int(present[one]), int(present[other]), ways[way], min(1.0, value))
        for (one, other), (value, way) in sorted(best.items())
    ]


class _Tables:
    """Spectra (N, waves) of unit length in the buckets of every table."""

    def __init__(self, spectra: np.ndarray):
        self.count = len(spectra)
        self.bits = int(np.clip(np.ceil(np.log2(self.count)) + 3, 6, 30))
        rng = np.random.default_rng(0)
        self.planes = rng.normal(size=(spectra.shape[1], TABLES * self.bits)).astype(np.float32)
        self.centre = spectra.sum(axis=0) / (self.count + SHRINKAGE)  # what all share tells none from another
        self.orders, self.keys = [], []
        for keys in self._keys(spectra):
            order = rng.permutation(self.count)  # another part of a crowded bucket comes first in each table
            order = order[np.argsort(keys[order], kind="stable")]
            self.orders.append(order)
            self.keys.append(keys[order])

    def met(self, turned: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """First and second of the pairs of a spectrum and a turned one in one bucket, each once, some at a time."""
        found = []
        for order, there, keys in zip(self.orders, self.keys, self._keys(turned), strict=True):
            start, end = (np.searchsorted(there, keys, side) for side in ("left", "right"))
            size = np.minimum(end - start, MOST)
            second = np.repeat(np.arange(self.count), size)
            within = np.arange(len(second)) - np.repeat(np.cumsum(size) - size, size)
            first = order[start[second] + within]
            found.append((first * self.count + second)[first != second])
        found = np.unique(np.concatenate(found))
        for start in range(0, len(found), AT_ONCE):
            yield np.divmod(found[start : start + AT_ONCE], self.count)

    def _keys(self, spectra: np.ndarray) -> np.ndarray:
        """(TABLES, N) bucket numbers: a bit for each side of a plane."""
        sides = ((spectra - self.centre) @ self.planes > 0).reshape(-1, TABLES, self.bits)
        return (sides @ (2.0 ** np.arange(self.bits))).astype(np.int64).T


def _usual(coarse: np.ndarray, owners: np.ndarray) -> float:
    """The likeness that only what is more alike than neighbours in this set exceeds; -1 where too few can tell.

    All scans of one anatomy are alike, and those of a simple phantom more so. Of a choice of spectra the likeness to
    the nearest other is taken, as Fisher's z. Copies among them raise the upper half of these values, so the lower one
    gives place and spread: a quarter of a normal distribution lies 0.674 spreads below its middle, a twentieth 1.645.
    """
    chosen = np.random.default_rng(0).permutation(len(coarse))[:SAMPLE]
    if len(set(owners[chosen].tolist())) < JUDGED:
        return -1.0
    likeness = coarse[chosen] @ coarse[chosen].T
    likeness[owners[chosen][:, None] == owners[chosen]] = -1
    low, quarter = np.quantile(np.arctanh(likeness.max(axis=1).clip(-0.999999, 0.999999)), (0.05, 0.25))
    return float(np.tanh(quarter + (0.674 + SPREADS) * (quarter - low) / (1.645 - 0.674)))


def _unit(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
