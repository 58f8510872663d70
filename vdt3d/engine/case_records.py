"""The numbers of one tested case, by what was answered, as ``cases.json`` in the work directory keeps them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vdt3d.evaluation.detection import FALSE, Detections, match
from vdt3d.evaluation.overlap import dice, label_counts

CASES = Path("test", "cases")  # in a work directory: pictures; the numbers lie beside it, as json
FROC = Path("test", "froc.json")
MOST_CLASSES = 32  # of a classifier whose probabilities are kept, not only what it decided


def labelled(sample: Any, regions: Mapping[str, int | Sequence[int]]) -> dict[str, Any]:
    """Of a segmentation: millilitres and Dice of each region; the score is the mean of the Dice that exist."""
    guess, truth = sample.pred_labels, sample.get("reference")
    millilitres = abs(float(np.linalg.det(guess.affine[:3, :3]))) / 1000
    guessed = np.asarray(guess.array)[0]
    true = guessed if truth is None else np.asarray(truth.array)[0]
    counts = label_counts(guessed, true, regions.values()) if regions else np.zeros((0, 3), int)
    values, labels = dice(counts), {}
    for name, (both, only_guess, only_truth), value in zip(regions, counts.tolist(), values.tolist(), strict=True):
        labels[name] = {"predicted_ml": millilitres * (both + only_guess)}
        if truth is not None:
            labels[name] |= {"truth_ml": millilitres * (both + only_truth), "dice": value}
    finite = values[np.isfinite(values)]
    score = float(finite.mean()) if truth is not None and len(finite) else None
    return {"score": score, "known": truth is not None, "labels": labels}


def classified(sample: Any) -> dict[str, Any]:
    """Of a classification: what was said, and the probability of the true class, which is the score."""
    said = sample.pred_score.float().cpu().numpy().reshape(-1).astype(float)
    guess = int(said.argmax())
    record = {"guess": guess, "confidence": float(said[guess]), "truth": None, "score": None}
    record |= {kind: float(sample.get(kind)) for kind in ("uncertainty", "disagreement") if kind in sample}
    if len(said) <= MOST_CLASSES:
        record["probabilities"] = said.tolist()
    if "gt_label" in sample:
        truth = int(sample.gt_label)
        record |= {"truth": truth, "score": float(said[truth])}
    return {**record, "known": record["truth"] is not None}


def detections_of(sample: Any, axes: int) -> Detections:
    """Found and true boxes of a case, of which 2 (x, y) or 3 (z, y, x) ``axes`` are compared."""
    columns = [2, 1, 5, 4] if axes == 2 else slice(None)
    said, truth = sample.pred_boxes, sample.get("reference")
    true = said.chosen(slice(0)) if truth is None else truth
    boxes = said.corners[:, columns], sample.pred_scores, true.corners[:, columns]
    return Detections(*boxes, said.labels, true.labels)


def detected(detections: Detections, rule: Mapping[str, Any]) -> dict[str, Any]:
    """Of a detection: what was hit; the score is the lowest score of a hit less the highest of a false box."""
    matches = match([detections], **rule)
    false = matches.scores[matches.verdict == FALSE]
    lowest = float(np.where(np.isfinite(matches.best), matches.best, 0).min(initial=1))
    return {
        "known": True,
        "true": len(detections.truth),
        "found": len(detections.boxes),
        "never_hit": int(np.isneginf(matches.best).sum()),
        "lowest_hit": lowest if len(detections.truth) else None,
        "highest_false": float(false.max()) if len(false) else None,
        "score": lowest - float(false.max(initial=0)),
    }
