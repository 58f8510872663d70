"""Bootstrap intervals: cases, or whole groups of them (patients), are drawn with replacement (Efron 1979)."""

import warnings
from collections.abc import Iterator, Sequence
from hashlib import sha256

import numpy as np

CELLS = 2**22  # numbers of one block of resamples: 32 MB, however many cases there are
LEAST = 3  # groups without which resamples show nothing of the spread: there is no interval
FEW = 10  # groups below which intervals are too narrow: there is a warning


def bootstrap_weights(cases: int, resamples: int, seed: int, groups: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Yield blocks (b, n) of how often each case is drawn: whole groups, with replacement, as many as there are.

    Yields nothing for fewer than ``LEAST`` groups, so that their interval is nan, and warns below ``FEW``.

    Args:
        groups: (n,) the group (patient) of each case; default: every case by itself.
    """
    group_of = np.unique(np.arange(cases) if groups is None else groups, return_inverse=True)[1]
    count = int(group_of.max(initial=-1)) + 1
    if resamples and count < FEW:
        fate = "there is no interval" if count < LEAST else "the intervals are too narrow"
        warnings.warn(
            f"intervals are bootstrapped over {count} patients (or cases, where no patient is known): {fate}; "
            f"test on {FEW} or more",
            stacklevel=3,
        )
    rng = np.random.default_rng(seed)
    rows = max(1, CELLS // max(cases, 1))
    for start in range(0, resamples if count >= LEAST else 0, rows):
        draws = rng.integers(count, size=(min(rows, resamples - start), count))
        yield np.stack([np.bincount(draw, minlength=count) for draw in draws])[:, group_of].astype(float)


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return the central ``level`` of the bootstrapped values (percentile method); nan values are left out.

    Both ends are nan where no value is left.
    """
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def weighted_means(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean over cases of the finite values for each row of weights; (n, ...) by (b, n) to (b, ...)."""
    finite = np.isfinite(values)
    total = np.tensordot(weights, np.where(finite, values, 0), 1)
    with np.errstate(invalid="ignore"):
        return total / np.tensordot(weights, finite.astype(float), 1)


def units(names: Sequence[str], groups: Sequence[str | None]) -> list[str] | None:
    """Return what is resampled as one, for each case: its group (patient), or the case itself where none is known.

    Args:
        names: of the cases; one without a name is told apart by its place.
        groups: of each case; None or '' where it is not known.

    Returns:
        None where no case has a group.
    """
    if not any(groups):
        return None
    pairs = enumerate(zip(names, groups, strict=True))
    return [str(group) if group else f"case {name or place}" for place, (name, group) in pairs]


def codes(names: Sequence[str], groups: Sequence[str | None]) -> list[str]:
    """Return a code for what is resampled as one, for each case, to be written beside its scores.

    It is a digest, so that files of scores can be resampled by patient without naming patients.
    """
    known = units(names, groups) or [f"case {name or place}" for place, name in enumerate(names)]
    return [sha256(unit.encode()).hexdigest()[:12] for unit in known]
