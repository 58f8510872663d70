"""Copies among thumbnails: the search in buckets beside comparing all with all, at 2,500, 5,000 and 10,000 of them.

Spectra are made up with the fall-off of photographs; one in fifty is a copy of another, turned or mirrored, with noise.
Both arms know the eight ways a copy may lie. The arms:

    all pairs  of each spectrum in turn, the correlation with all that follow it, in each way: a product of a matrix and
               a vector, as one writes it (timed on ``--share`` of the spectra, spread evenly, and scaled up)
    search     ``find_alike``, whole

    python benchmarks/duplicates.py
"""

import argparse
import math
import time

import numpy as np

from vdt3d.datasets.inspection import find_alike
from vdt3d.datasets.inspection.spectrum import WAVES, bands

COPIES = 50  # one in so many


def main() -> None:
    args = parse_args()
    seconds = []
    for count in args.counts:
        spectra, planted = make(count)
        start = time.perf_counter()
        found = {(pair.first, pair.second) for pair in find_alike(spectra, 2)}
        seconds.append(time.perf_counter() - start)
        plain = all_pairs(spectra, args.share)
        print(
            f"{count:6} search {seconds[-1]:6.2f} s, {len(found & planted)} of {len(planted)} copies found, "
            f"{len(found - planted)} others; all pairs {plain:7.1f} s, {plain / seconds[-1]:5.1f} x"
        )
    growth = math.log(seconds[-1] / seconds[0]) / math.log(args.counts[-1] / args.counts[0])
    print(f"from {args.counts[0]} to {args.counts[-1]} the search grows with the power {growth:.2f} of their number")


def make(count: int) -> tuple[np.ndarray, set[tuple[int, int]]]:
    """(N, waves) spectra, and the pairs that are copies."""
    rng, side = np.random.default_rng(0), WAVES[2]
    frequency = np.hypot(*np.meshgrid(np.arange(side), np.arange(side), indexing="ij")).reshape(-1)
    spectra = rng.normal(size=(count, side * side)) / np.maximum(frequency, 1) ** 1.5
    spectra[:, 0] = 0
    chosen = rng.permutation(count)[: 2 * (count // COPIES)].reshape(-1, 2)
    for original, copy in chosen:
        source, sign = bands(2).moved[rng.integers(8)]
        noise = rng.normal(size=side * side) * 0.01
        spectra[copy] = spectra[original][source] * sign + noise
    spectra[:, 0] = 0
    spectra /= np.linalg.norm(spectra, axis=1, keepdims=True)
    return spectra.astype(np.float16), {tuple(sorted(pair)) for pair in chosen.tolist()}


def all_pairs(spectra: np.ndarray, share: float) -> float:
    """Seconds that all comparisons would take."""
    spectra = spectra.astype(np.float32)
    ways = np.stack([spectra[:, source] * sign for source, sign in bands(2).moved], axis=1)  # (N, 8, waves)
    rows = np.arange(0, len(spectra), round(1 / share))
    start = time.perf_counter()
    for row in rows:
        np.flatnonzero(ways[row + 1 :] @ spectra[row] > 0.94)
    return (time.perf_counter() - start) * len(spectra) / len(rows)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[2500, 5000, 10000])
    parser.add_argument("--share", type=float, default=0.05, help="of all pairs that are timed")
    return parser.parse_args()


if __name__ == "__main__":
    main()
