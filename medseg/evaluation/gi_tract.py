"""GITractScore: the score of the UW-Madison GI Tract challenge, of slices and of whole case-days."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from medseg.evaluation.metric import CaseMetric, Scores
from medseg.evaluation.scores import check_grids, numbers_of
from vdt3d.evaluation.overlap import dice, regions_of
from vdt3d.evaluation.surface import hausdorff_distance
from vdt3d.registry import METRICS
from vdt3d.structures import IGNORED, LabelMap

DICE, HAUSDORFF = 0.4, 0.6  # their weights
TOLD = ("dice_slices", "hausdorff_score", "slices")  # of every case and organ


@METRICS.register_module()
class GITractScore(CaseMetric):
    """The score of the UW-Madison GI Tract challenge: 0.4 x mean Dice + 0.6 x mean 3D Hausdorff score.

    Dice is that of each organ in each slice. The Hausdorff score is that of each organ in each case-day: 1 - h / d with
    h the Hausdorff distance in voxels, slices lying 1 apart as rows and columns do, and d the diagonal of the scan,
    sqrt(D^2 + H^2 + W^2); 1 where both masks are equal, empty ones included, and 0 where only one is empty.

    The organisers published a text and no code (kaggle.com/competitions/uw-madison-gi-tract-image-segmentation, page
    "Evaluation"). It calls the Dice of two empty masks 0; by the forum's account the leaderboard leaves such slices
    out, and those who rebuilt the score leave them out or count them as 1. Compare numbers of one convention only. It
    says that "pixel locations are normalized by image size" into 0..1, of which the diagonal is a common reading.

    Returned are ``score``, ``dice_slices`` and ``hausdorff_score``, and each of them for every organ, as
    ``score_ORGAN`` and so on (blanks in a name become ``_``). A mean over slices is one over all that count, whatever
    case and organ they are of; nan where there is none.

    Args:
        labels: as ``CaseMetric``'s; organs that overlap have several labels each.
        empty: what an organ counts for in a slice where neither map has it: nothing ("nan"), or 0 ("published").
        out: as ``CaseMetric``'s. Of each case and organ: ``dice_slices``, ``hausdorff_score``, and ``slices``, how many
            the Dice is the mean of.

    Raises:
        ValueError: as ``CaseMetric``, or ``empty`` is none of these.
    """

    directions = dict.fromkeys(("score*", "dice_slices*", "hausdorff_score*"), "greater")

    def __init__(
        self,
        labels: Mapping[str, int | Sequence[int]] | None = None,
        empty: Literal["nan", "published"] = "nan",
        out: str | None = None,
        **kwargs,
    ):
        super().__init__(labels, out=out, **kwargs)
        if empty not in ("nan", "published"):
            raise ValueError(f"empty={empty!r}: slices without an organ are left out ('nan') or 0 ('published')")
        self.settings = dict(empty=empty)

    def score(self, guess: LabelMap, truth: LabelMap, labels: Mapping[str, int | Sequence[int]]) -> Scores:
        check_grids(guess, truth)
        guessed, true = numbers_of(guess), numbers_of(truth)
        known = true != IGNORED
        scores = {}
        for organ, region in zip(labels, regions_of(labels.values(), IGNORED), strict=True):
            masks = [np.isin(array, region) & known for array in (guessed, true)]
            of_slices = slice_dice(*masks)
            if self.settings["empty"] == "published":
                of_slices = np.nan_to_num(of_slices)
            counted = of_slices[~np.isnan(of_slices)]
            mean = float(counted.mean()) if counted.size else math.nan
            scores[organ] = dict(zip(TOLD, (mean, hausdorff_score(*masks), counted.size), strict=True))
        return scores

    def sum_up(self, cases: Mapping[str, Scores], groups: Mapping[str, str] | None) -> tuple[Mapping, dict[str, float]]:
        organs = list(next(iter(cases.values())))
        table = {name: np.array([[case[o][name] for o in organs] for case in cases.values()]) for name in TOLD}
        scores = _means(*table.values())
        for column, organ in enumerate(organs):
            of_organ = _means(*(values[:, column] for values in table.values()))
            scores |= {f"{name}_{organ.replace(' ', '_')}": value for name, value in of_organ.items()}
        return scores, scores


def _means(dice_slices: np.ndarray, hausdorff: np.ndarray, slices: np.ndarray) -> dict[str, float]:
    counted = slices.sum()
    mean_dice = float((np.nan_to_num(dice_slices) * slices).sum() / counted) if counted else math.nan
    mean_hausdorff = float(hausdorff.mean())
    score = DICE * mean_dice + HAUSDORFF * mean_hausdorff
    return {"score": score, "dice_slices": mean_dice, "hausdorff_score": mean_hausdorff}


def slice_dice(guess: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(D,) the Dice of every slice of two masks (D, H, W); nan where both are empty."""
    counts = [mask.sum(axis=(1, 2)) for mask in (guess & truth, guess & ~truth, truth & ~guess)]
    return dice(np.stack(counts, axis=-1))


def hausdorff_score(guess: np.ndarray, truth: np.ndarray) -> float:
    """1 - the Hausdorff distance of two masks (D, H, W) over the diagonal, in voxels; 1 if both are empty, 0 if one."""
    distance = hausdorff_distance(guess, truth, (1, 1, 1))
    if math.isnan(distance):
        return 1.0
    return 0.0 if math.isinf(distance) else 1 - distance / math.hypot(*truth.shape)
