"""Scores of a classifier, as pure functions over probabilities (n cases, k classes) and truth (n,).

Every score is computed from ``weights`` (b, n): how often each case counts, in b readings of the same cases. One row of
ones is the score itself; a thousand rows of a bootstrap give its confidence interval in one sweep, which is why the
area under the curve is written out here (scikit-learn takes one row at a time and needs 100 times as long; the tests
compare with it). A score that needs a class no case belongs to is nan.
"""

import numpy as np

from vdt3d.evaluation.intervals import bootstrap_weights, interval

COUNTS = ("tp", "fp", "tn", "fn")
OF_DECISION = ("accuracy", "sensitivity", "specificity", "precision", "f1", "balanced_accuracy", *COUNTS)


def score_report(
    probabilities: np.ndarray,
    truth: np.ndarray,
    *,
    threshold: float | None = None,
    resamples: int = 0,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> dict[str, float]:
    """All scores of ``classification_scores`` by name.

    Args:
        threshold: the scores of the decision (two classes) are given at 0.5 and, as ``NAME_at_threshold``, here.
        resamples: bootstrap resamples for ``NAME_low`` and ``NAME_high``, the 95 % interval (nan for fewer than 3
            groups); 0 for none.
        groups: (n,) what is resampled as one (patients); default: every case by itself.

    Raises:
        ValueError: see ``classification_scores``.
    """

    def scores_of(weights: np.ndarray | None) -> dict[str, np.ndarray]:
        scores = classification_scores(probabilities, truth, weights=weights)
        if threshold is not None:
            moved = classification_scores(probabilities, truth, threshold=threshold, weights=weights)
            scores |= {f"{name}_at_threshold": moved[name] for name in OF_DECISION}
        return scores

    report = {name: value.item() for name, value in scores_of(None).items()}
    if resamples:
        blocks = [scores_of(weights) for weights in bootstrap_weights(len(truth), resamples, seed, groups)]
        for name in [name for name in report if name.removesuffix("_at_threshold") not in COUNTS]:
            low, high = interval(np.concatenate([np.empty(0), *(block[name] for block in blocks)]))
            report |= {f"{name}_low": low, f"{name}_high": high}
    return report if threshold is None else report | {"threshold": float(threshold)}


def classification_scores(
    probabilities: np.ndarray, truth: np.ndarray, *, threshold: float | None = None, weights: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """``auc``, ``accuracy``, ``balanced_accuracy`` and ``log_loss``, each (b,).

    Two classes: class 1 is the positive one, decided where its probability > ``threshold``; ``sensitivity``,
    ``specificity``, ``precision``, ``f1`` and the counts ``tp, fp, tn, fn`` are added. More classes: the most probable
    one is decided, and ``auc`` is the mean of one-versus-rest over the classes, as in MedMNIST.

    Args:
        probabilities: (n, k), each in 0..1.
        truth: (n,) class indices.
        threshold: of a decision between two classes. Default: 0.5.
        weights: (b, n) how often each case counts. Default: once, in one row.

    Raises:
        ValueError: the shapes disagree, a probability is not a number in 0..1, a class index is out of range, or a
            threshold is given for more than two classes.
    """
    probabilities, truth = checked(probabilities, truth)
    cases, classes = probabilities.shape
    if threshold is not None and classes > 2:
        raise ValueError(f"a threshold decides between two classes, but there are {classes}; leave it out")
    weights = np.ones((1, cases)) if weights is None else weights
    if classes == 2:
        predicted = (probabilities[:, 1] > (0.5 if threshold is None else threshold)).astype(int)
    else:
        predicted = probabilities.argmax(1)

    member = np.eye(classes)[truth]  # (n, k)
    total = weights @ member  # (b, k): cases of each class
    hit = weights @ (member * (predicted == truth)[:, None])
    recall = _ratio(hit, total)
    positives = range(1, 2) if classes == 2 else range(classes)
    areas = [area_under_roc(probabilities[:, c], truth == c, weights) for c in positives]
    surprise = -np.log(np.maximum(probabilities[np.arange(cases), truth], np.finfo(np.float32).tiny))
    scores = {
        "auc": np.mean(areas, axis=0),
        "accuracy": hit.sum(1) / total.sum(1),
        "balanced_accuracy": recall.mean(1),
        "log_loss": weights @ surprise / total.sum(1),
    }
    return scores if classes > 2 else scores | _of_two_classes(hit, total)


def _of_two_classes(hit: np.ndarray, total: np.ndarray) -> dict[str, np.ndarray]:
    (tn, tp), (negatives, positives) = hit.T, total.T
    fp, fn = negatives - tn, positives - tp
    return {
        "sensitivity": _ratio(tp, positives),
        "specificity": _ratio(tn, negatives),
        "precision": _ratio(tp, tp + fp),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        **{name: count.astype(int) for name, count in zip(COUNTS, (tp, fp, tn, fn), strict=True)},
    }


def area_under_roc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The chance that a positive case scores above a negative one, a tie counting half (Mann and Whitney); (b,).

    Args:
        scores: (n,), higher means more positive.
        positive: (n,) booleans.
        weights: (b, n).
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # where each distinct score begins
    weights, positive = weights[:, order], positive[order]
    positives = np.add.reduceat(weights * positive, starts, axis=1)  # (b, distinct scores)
    negatives = np.add.reduceat(weights * ~positive, starts, axis=1)
    below = negatives.cumsum(1) - negatives / 2
    return _ratio((positives * below).sum(1), positives.sum(1) * negatives.sum(1))


def youden_threshold(scores: np.ndarray, truth: np.ndarray) -> float:
    """The threshold (decision: score > threshold) with the largest sensitivity + specificity (Youden 1950).

    It lies midway between two neighbouring scores; of equally good ones the lowest is taken, the most sensitive. Choose
    it on validation cases, never on those a score is reported for.

    Args:
        scores: (n,) probability of class 1.
        truth: (n,) 0 or 1; nan is returned where either is absent.
    """
    distinct, place = np.unique(scores, return_inverse=True)
    positives, negatives = (np.bincount(place, weights=np.asarray(truth) == label) for label in (1, 0))
    if not positives.any() or not negatives.any():
        return float("nan")
    found = positives.sum() - positives.cumsum()  # positives above each distinct score
    # Sensitivity + specificity times both totals: whole numbers, so that ties are exact.
    best = int(np.argmax(found * negatives.sum() + negatives.cumsum() * positives.sum()))
    return float(distinct[best : best + 2].mean())


def checked(probabilities: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two as float64 and int arrays, or a ValueError that says what is wrong with them."""
    probabilities, truth = np.asarray(probabilities, dtype=float), np.asarray(truth)
    if (
        probabilities.ndim != 2
        or probabilities.shape[1] < 2
        or truth.shape != probabilities.shape[:1]
        or not len(truth)
    ):
        raise ValueError(
            "wanted probabilities (cases, two or more classes) and truth (cases,), got shapes "
            f"{probabilities.shape} and {truth.shape}"
        )
    odd = np.flatnonzero(~((probabilities >= 0) & (probabilities <= 1 + 1e-6)).all(1))  # nan compares false
    if len(odd):
        raise ValueError(
            f"{len(odd)} of {len(truth)} cases have scores that are no probabilities, first case {odd[0]}: "
            f"{probabilities[odd[0]].tolist()}; nan means the training diverged, other values that softmax is missing"
        )
    if truth.dtype.kind not in "iu" or truth.min() < 0 or truth.max() >= probabilities.shape[1]:
        raise ValueError(
            f"truth must hold class indices 0..{probabilities.shape[1] - 1}, got {np.unique(truth).tolist()[:10]}"
        )
    return probabilities, truth


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / whole, np.nan)
