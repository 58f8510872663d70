"""Overlap of label maps: counts of voxels first, which add up over cases, and scores from them second.

Where neither map has a voxel of a label, its scores are nan: neither right nor wrong, and left out of every mean.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from vdt3d.structures import IGNORED

HIGHEST = 2**16 - 1  # a table as long as the highest label is made


def label_counts(
    guess: np.ndarray, truth: np.ndarray, labels: Iterable[int | Sequence[int]], ignore_index: int | None = IGNORED
) -> np.ndarray:
    """Voxels that bear each label in both maps, only in the guess and only in the truth; (n, 3), in one pass.

    Args:
        guess: integers or booleans (D, H, W).
        truth: likewise.
        labels: what is counted: a label, or several that make up one region; regions may overlap.
        ignore_index: voxels that bear it in ``truth`` are left out; None: none are.

    Raises:
        ValueError: the shapes differ; a map holds no integers, or such as are negative or above 65535; ``ignore_index``
            is among the labels.
    """
    guess, truth = (_integers(array, whose) for array, whose in ((guess, "guess"), (truth, "truth")))
    if guess.shape != truth.shape:
        raise ValueError(f"the guess has shape {guess.shape}, the truth {truth.shape}; they must lie on one grid")
    regions = regions_of(labels, ignore_index)
    known = np.unique(np.concatenate(regions))  # in the table below each has a number from 1 on, all others 0
    side = len(known) + 1
    highest = int(max(guess.max(initial=0), truth.max(initial=0), known.max(), ignore_index or 0))
    number = np.zeros(highest + 1, np.intp)
    number[known] = np.arange(1, side)
    row, column = number * side, number.copy()
    cells = side * side
    if ignore_index is not None and ignore_index >= 0:
        column[ignore_index] = cells  # beyond the table, whatever the guess says
    table = np.zeros(cells, np.int64)
    for guess_HW, truth_HW in zip(guess, truth, strict=True):
        joint = row[guess_HW] + column[truth_HW]
        table += np.bincount(joint.ravel(), minlength=cells)[:cells]
    table = table.reshape(side, side)  # how often each label of the guess (rows) meets each of the truth (columns)

    counts = np.empty((len(regions), 3), np.int64)
    for counted, region in zip(counts, regions, strict=True):
        member = np.zeros(side, bool)
        member[number[region]] = True
        counted[:] = [table[np.ix_(a, b)].sum() for a, b in ((member, member), (member, ~member), (~member, member))]
    return counts


def regions_of(labels: Iterable[int | Sequence[int]], ignore_index: int | None) -> list[np.ndarray]:
    """What is scored, each an array of the labels that make it up.

    Raises:
        ValueError: there is none, one is no whole number in 0..65535, or one is ignored.
    """
    regions = [np.atleast_1d(region) for region in labels]
    if not regions or any(region.dtype.kind not in "iu" or not region.size for region in regions):
        raise ValueError(f"labels are whole numbers, at least one; got {[region.tolist() for region in regions]}")
    known = np.concatenate(regions)
    if known.min() < 0 or known.max() > HIGHEST:
        raise ValueError(f"labels lie in 0..{HIGHEST}; got {known.min()} to {known.max()}: number the classes from 0")
    if ignore_index is not None and ignore_index in known:
        raise ValueError(f"label {ignore_index} is to be scored and ignored at once; ignore another one or none")
    return regions


def dice(counts: np.ndarray) -> np.ndarray:
    """Twice the overlap over the sum of both sizes (Dice 1945); counts (..., 3) to (...), nan where both are empty."""
    both, only_guess, only_truth = np.moveaxis(counts, -1, 0)
    return _quotient(2 * both, 2 * both + only_guess + only_truth)


def iou(counts: np.ndarray) -> np.ndarray:
    """The overlap over the union (Jaccard 1901); counts (..., 3) to (...), nan where both are empty."""
    return _quotient(counts[..., 0], counts.sum(-1))


def volume_difference(counts: np.ndarray) -> np.ndarray:
    """(guessed volume - true volume) / true volume; counts (..., 3) to (...).

    -1 where the guess misses it altogether, inf where only the guess has it, nan where both are empty. Its magnitude in
    percent is the RAVD of the CHAOS challenge.
    """
    both, only_guess, only_truth = np.moveaxis(counts, -1, 0)
    return _quotient(only_guess - only_truth, both + only_truth)


def _quotient(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.true_divide(part, whole)  # 0 / 0 is nan, as wanted


def _integers(array: np.ndarray, whose: str) -> np.ndarray:
    """``array`` as integers that a table can be indexed with."""
    array = np.asarray(array)
    if array.dtype == bool:
        return array.view(np.uint8)
    if array.dtype.kind not in "iu":
        raise ValueError(f"the {whose} holds {array.dtype}; labels are integers (take the argmax of scores first)")
    lowest, highest = array.min(initial=0), array.max(initial=0)
    if lowest < 0 or highest > HIGHEST:
        raise ValueError(f"the {whose} holds labels from {lowest} to {highest}; number them within 0..{HIGHEST}")
    return array
