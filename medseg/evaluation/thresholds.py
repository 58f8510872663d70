"""Thresholds for regions: what Dice each would give on the cases of a validation, from one look at every voxel."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from medseg.evaluation.scores import numbers_of
from vdt3d.evaluation.overlap import dice
from vdt3d.structures import IGNORED, LabelMap

THRESHOLDS = tuple(step / 20 for step in range(1, 20))  # 0.05 to 0.95
LEVELS = len(THRESHOLDS) + 1  # how many of them a probability may exceed, from none to all
AT_ONCE = 3  # regions whose levels fit together into the 16 bits of an inferer's labels: 20 ** 3 < 2 ** 16


class Choice(NamedTuple):
    """The threshold of a region, its mean Dice over the cases, and the Dice at 0.5."""

    threshold: float
    dice: float
    dice_at_half: float


class ThresholdSurvey:
    """An inferer around another one: on its way through a validation it counts the voxels at every threshold.

    What the other decides by, and what it does to labels afterwards (``post_process``), must not mix the levels it is
    made to answer: take its steps out. The probability is asked voxel by voxel on the grid on which it would be decided
    in prediction; each region counts by itself, whatever others lie in the same place.

    Args:
        inferer: the model's own.
        regions: name to labels.
        table: (256,) label of the data set to the model's, ``LabelScheme.table``.

    Attributes:
        counts: of each case (R, T, 3), the voxels in both, only in the guess and only in the truth, at each of
            ``THRESHOLDS``.

    Raises:
        ValueError: there are no regions; (on use) a case without a reference on its own grid.
    """

    def __init__(self, inferer: Any, regions: Mapping[str, Sequence[int]], table: Tensor):
        if not regions:
            raise ValueError(
                "the classes of this model exclude one another and the largest score wins: there is no threshold to "
                "choose; a head with regions=dict(NAME=(label, ...)) has one for each"
            )
        self.inferer, self.regions, self.table = inferer, dict(regions), table.cpu().numpy()
        self.counts: dict[str, np.ndarray] = {}

    def segment(self, network: Any, image_CDHW: Tensor, sample: Any, decide: Any = None) -> LabelMap:
        """The levels of the last regions asked for, a ``LabelMap`` on the scan's own grid."""
        name, reference = sample.sample_name, sample.get("reference")
        if reference is None:
            raise ValueError(f"case '{name}' has no reference to choose by; give its data set whole_scans=True")
        truth_DHW = self.table[numbers_of(reference)]
        counts = []
        for first in range(0, len(self.regions), AT_ONCE):
            among = slice(first, first + AT_ONCE)
            found = self.inferer.segment(network, image_CDHW, sample, decide=partial(levels, among=among))
            code_DHW = found.array[0]
            for region in list(self.regions.values())[among]:
                counts.append(threshold_counts(code_DHW % LEVELS, np.isin(truth_DHW, region), truth_DHW != IGNORED))
                code_DHW = code_DHW // LEVELS
        self.counts[name] = np.stack(counts)
        return found


def levels(scores: Tensor, among: slice = slice(None)) -> Tensor:
    """How many of ``THRESHOLDS`` the probability exceeds, of several regions in one number (...), int32.

    Args:
        scores: (R, ...) logits.
        among: which regions, ``AT_ONCE`` at most; the level of the first is the last digit to the base ``LEVELS``.
    """
    cutoffs = torch.logit(torch.tensor(THRESHOLDS, dtype=torch.float64)).to(scores)
    of_regions = (torch.bucketize(score.contiguous(), cutoffs, out_int32=True) for score in scores[among])
    return sum(level * LEVELS**digit for digit, level in enumerate(of_regions))


def threshold_counts(level: np.ndarray, inside: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(T, 3) the voxels in both, only in the guess and only in the truth, at each of ``THRESHOLDS``.

    Args:
        level: how many thresholds each voxel exceeds.
        inside: whether it lies in the region in truth.
        known: whether it counts.
    """
    joint = np.where(inside, LEVELS, 0) + level
    outside, within = np.bincount(joint[known], minlength=2 * LEVELS).reshape(2, LEVELS)
    only_guess, both = (voxels[::-1].cumsum()[::-1][1:] for voxels in (outside, within))
    return np.stack([both, only_guess, within.sum() - both], axis=1)


def choose(counts: Mapping[str, np.ndarray], regions: Sequence[str]) -> dict[str, Choice]:
    """The threshold of the best mean Dice for each region; of equally good ones that nearest to 0.5.

    A case in which a region is neither seen nor true is left out of its mean, as ``SegmentationScores`` does.

    Args:
        counts: of each case, as ``ThresholdSurvey`` has them.

    Raises:
        ValueError: there is no case, or none that has some region.
    """
    if not counts:
        raise ValueError("there is no case to choose thresholds by; look at the validation data set")
    of_cases = np.stack([counts[name] for name in sorted(counts)])
    true_voxels = of_cases[:, :, 0, [0, 2]].sum(axis=(0, 2))
    if absent := [name for name, voxels in zip(regions, true_voxels, strict=True) if not voxels]:
        raise ValueError(
            f"no case has {', '.join(absent)}: nothing tells where its threshold lies; validate on cases that have it"
        )
    half = THRESHOLDS.index(0.5)
    chosen = {}
    for name, values in zip(regions, dice(of_cases).swapaxes(0, 1), strict=True):
        mean = np.nanmean(values, axis=0)
        best = np.flatnonzero(mean >= mean.max() - 1e-12)
        pick = min(best, key=lambda step: abs(step - half))
        chosen[name] = Choice(THRESHOLDS[pick], float(mean[pick]), float(mean[half]))
    return chosen
