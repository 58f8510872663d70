"""Bootstrap intervals: cases, or whole groups of them, are drawn again and again with replacement (Efron 1979)."""

from collections.abc import Iterator

import numpy as np

CELLS = 2**22  # numbers of one block of resamples: 32 MB, however many cases there are


def bootstrap_weights(cases: int, resamples: int, seed: int, groups: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Blocks (b, n) of how often each case is drawn: whole groups, with replacement, as many as there are."""
    group_of = np.unique(np.arange(cases) if groups is None else groups, return_inverse=True)[1]
    count = group_of.max() + 1
    rng = np.random.default_rng(seed)
    rows = max(1, CELLS // cases)
    for start in range(0, resamples, rows):
        draws = rng.integers(count, size=(min(rows, resamples - start), count))
        yield np.stack([np.bincount(draw, minlength=count) for draw in draws])[:, group_of].astype(float)


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The central ``level`` of the bootstrapped values (percentile method), those that are nan left out."""
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)
