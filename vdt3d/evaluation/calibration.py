"""Calibration of probabilities (n cases, k classes): of all answers given with 80 %, are 80 % right?

Scores of it, the curve behind them, and the one number, a temperature, that mends most of it (Guo et al. 2017).
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from vdt3d.evaluation.classification import checked

BINS = 15  # as Guo et al. have it
RANGE = (0.05, 20.0)  # where a temperature is looked for


class Reliability(NamedTuple):
    """Of each bin that is not empty: (bins,) the mean confidence, the share of right answers, and how many there are.

    Confidence is the probability of the most probable class.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: how far confidence and accuracy are apart, in the mean over all answers."""
        return float(np.abs(self.confidence - self.accuracy) @ self.count / self.count.sum())


def reliability(
    probabilities: np.ndarray, truth: np.ndarray, *, bins: int = BINS, equal_mass: bool = False
) -> Reliability:
    """The reliability curve.

    Args:
        probabilities: (n, k), each in 0..1.
        truth: (n,) class indices.
        bins: how many. Each holds the confidences in (i / bins, (i + 1) / bins], and the first 0 as well.
        equal_mass: bins of equally many answers instead (Nguyen and O'Connor 2015): the n / bins least confident, and
            so on; answers of one confidence may fall into two bins.

    Raises:
        ValueError: no bins, or as ``classification_scores``.
    """
    probabilities, truth = checked(probabilities, truth)
    if bins < 1:
        raise ValueError(f"bins={bins}: answers are counted in 1 or more")
    confidence, right = probabilities.max(1), probabilities.argmax(1) == truth
    if equal_mass:
        rank = np.argsort(np.argsort(confidence, kind="stable"))
        place = rank * bins // len(rank)
    else:
        place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    told = count > 0
    sums = (np.bincount(place, weights=values, minlength=bins)[told] for values in (confidence, right))
    return Reliability(*(total / count[told] for total in sums), count[told])


def calibration_scores(probabilities: np.ndarray, truth: np.ndarray, *, bins: int = BINS) -> dict[str, float]:
    """``ece`` and ``ece_equal_mass``, the expected calibration error over bins of equal width (Naeini et al. 2015) and
    of equal mass; ``brier``, the mean over cases of the squared differences between probabilities and truth, summed
    over the classes (Brier 1950, 0 to 2); ``log_loss``; ``accuracy`` and ``confidence``, its mean.

    Args and errors are those of ``reliability``.
    """
    probabilities, truth = checked(probabilities, truth)
    of_truth = probabilities[np.arange(len(truth)), truth]
    member = np.eye(probabilities.shape[1])[truth]
    return {
        "ece": reliability(probabilities, truth, bins=bins).error,
        "ece_equal_mass": reliability(probabilities, truth, bins=bins, equal_mass=True).error,
        "brier": float(((probabilities - member) ** 2).sum(1).mean()),
        "log_loss": float(-np.log(np.maximum(of_truth, np.finfo(np.float32).tiny)).mean()),
        "accuracy": float((probabilities.argmax(1) == truth).mean()),
        "confidence": float(probabilities.max(1).mean()),
    }


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """The temperature T for which softmax(logits / T) has the least log loss (Guo et al. 2017).

    The loss is convex in 1 / T, so there is one minimum. Fit it on validation cases, never on those a score is reported
    for.

    Args:
        logits: (n, k).
        truth: (n,) class indices.

    Raises:
        ValueError: the cases tell none, since the best lies beyond ``RANGE`` (every answer is right, or all are as good
            as guessed), or as ``classification_scores``.
    """
    logits = np.asarray(logits, dtype=float)
    _, truth = checked(np.exp(log_softmax(logits, axis=1)), truth)

    def loss(log_temperature: float) -> float:
        return -log_softmax(logits / np.exp(log_temperature), axis=1)[np.arange(len(truth)), truth].mean()

    low, high = np.log(RANGE)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6}).x
    if min(found - low, high - found) < 1e-3:
        why = "every answer is right, and the surer the better" if found < 0 else "answers are no better than guessed"
        raise ValueError(f"these {len(truth)} answers tell no temperature between {RANGE[0]} and {RANGE[1]:g}: {why}")
    return float(np.exp(found))
