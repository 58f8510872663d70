"""Scores of detections, as pure functions on arrays: matching, the FROC curve, COCO's precision.

FROC, free-response receiver operating characteristic (Bunch et al. 1977): a threshold lets in all detections that score
at least as much. A true box is hit where one of them overlaps it enough, and one may hit several; a detection that
overlaps no true box of its image enough is a false positive; a second detection of a box that is hit is neither.
Sensitivity, the share of all true boxes that are hit, stands beside the false positives per image, where images without
a true box count, too. The code published with DeepLesion (CADLab) and that of LUNA16 count alike, but match otherwise
(overlap 'iou_plus_1' and 'centre') and interpolate between the points of the curve.

So no detection's fate depends on another's: a true box is hit at the best score among the detections that overlap it,
and the curve is two sorted lists. Equal scores enter together, whatever their order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

import numpy as np

from vdt3d.evaluation.intervals import bootstrap_weights, interval
from vdt3d.structures import Overlap, box_overlap, box_size

RATES = (0.5, 1, 2, 4, 8, 16)  # false positives per image at which sensitivity is told
CURVE = np.array([2 ** (step / 8) for step in range(-24, 33)])  # and those a curve is drawn through: 1/8 to 16
LUNA16 = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)  # those whose mean LUNA16 reports
NAMES = (*(f"sensitivity_{rate:g}" for rate in RATES), "froc", "froc_to_4", "froc_luna16")
HIT, FALSE, LEFT_OUT = 1, 0, -1  # what a detection is
AT_ONCE = 256  # true boxes whose detections are compared at once: with a hundred each, what a processor's cache holds


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector said of one image, and what is true.

    A box is its lower corner and its upper one along k axes: (x1, y1, x2, y2) or, with three axes, (d, h, w, d, h, w).

    Args:
        boxes: (M, 2k), those answered; (0, 2k) for none.
        scores: (M,), higher is surer; of any range.
        truth: (N, 2k).
        labels: (M,) int; a detection can hit true boxes of its own label only. Default: zeros.
        truth_labels: (N,) int. Default: zeros.
        left_out: (N,) bool, true boxes that count neither as hit nor as missed, and what overlaps them enough is no
            false positive. Default: none.

    Raises:
        ValueError: the shapes disagree, or a number is not finite.
    """

    boxes: np.ndarray
    scores: np.ndarray
    truth: np.ndarray
    labels: np.ndarray | None = None
    truth_labels: np.ndarray | None = None
    left_out: np.ndarray | None = None

    def __post_init__(self):
        boxes, truth, scores = (np.asarray(array, float) for array in (self.boxes, self.truth, self.scores))
        if boxes.ndim != 2 or boxes.shape[1] not in (4, 6) or truth.shape[1:] != boxes.shape[1:]:
            raise ValueError(f"boxes are (N, 4) or (N, 6), true ones too; got {boxes.shape} and {truth.shape}")
        beside = {
            "scores": (boxes, scores),
            "labels": (boxes, _or_zeros(self.labels, boxes, int)),
            "truth_labels": (truth, _or_zeros(self.truth_labels, truth, int)),
            "left_out": (truth, _or_zeros(self.left_out, truth, bool)),
        }
        for name, (whose, values) in beside.items():
            if values.shape != whose.shape[:1]:
                raise ValueError(f"{len(whose)} boxes have {name} of shape {values.shape}")
            object.__setattr__(self, name, values)
        if not all(np.isfinite(array).all() for array in (boxes, truth, scores)):
            raise ValueError("boxes or scores are not finite; nan means the training diverged")
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "truth", truth)


class Matches(NamedTuple):
    """What the detections P of all images are, and from which score on the true boxes T are hit.

    Fields:
        images: how many there are.
        scores: (P,).
        image_of: (P,) the number of the image.
        verdict: (P,) 1: overlaps a true box enough; 0: a false positive; -1: overlaps only boxes that are left out.
        best: (T,) the highest score among the detections that overlap each true box enough; -inf where none does.
        truth_image: (T,) the number of its image.
        counted: (T,) bool, those not left out.
    """

    images: int
    scores: np.ndarray
    image_of: np.ndarray
    verdict: np.ndarray
    best: np.ndarray
    truth_image: np.ndarray
    counted: np.ndarray


class FrocCurve(NamedTuple):
    """A point for each distinct score, the highest first; each (points,)."""

    thresholds: np.ndarray
    false_positives: np.ndarray  # per image
    sensitivity: np.ndarray


# ---- matching --------------------------------------------------------------------------------------------------------


def match(images: Sequence[Detections], *, overlap: Overlap = "iou", threshold: float = 0.5) -> Matches:
    """Compare the detections of each image with its true boxes; see the top of this file.

    Args:
        images: in the order that weights and masks of other functions follow.
        overlap: see ``vdt3d.structures.box_overlap``.
        threshold: from which overlap on it is enough.

    Raises:
        ValueError: there are no images, some have boxes of two and some of three axes, or the threshold is not in
            0..1 or is 0.
    """
    check_rule(overlap, threshold)
    if not images:
        raise ValueError("there are no images to score")
    if len({image.boxes.shape[1] for image in images}) > 1:
        raise ValueError("some images have boxes of two axes and some of three; score them apart")
    boxes, scores, labels, truth, truth_labels, left_out = (
        np.concatenate([getattr(image, name) for image in images])
        for name in ("boxes", "scores", "labels", "truth", "truth_labels", "left_out")
    )
    said = np.array([len(image.boxes) for image in images])  # detections of each image
    first = said.cumsum() - said
    truth_image = np.repeat(np.arange(len(images)), [len(image.truth) for image in images])

    best = np.full(len(truth), -np.inf)
    hits, hits_left_out = np.zeros((2, len(boxes)), bool)
    for start in range(0, len(truth), AT_ONCE):  # every true box beside every detection of its image
        rows = np.arange(start, min(start + AT_ONCE, len(truth)))
        image = truth_image[rows]
        pairs = said[image]
        row = np.repeat(rows, pairs)
        column = np.arange(pairs.sum()) + np.repeat(first[image] - (pairs.cumsum() - pairs), pairs)
        enough = box_overlap(boxes[column], truth[row], overlap) >= threshold
        enough &= labels[column] == truth_labels[row]
        row, column = row[enough], column[enough]
        np.maximum.at(best, row, scores[column])
        hits_left_out[column[left_out[row]]] = True
        hits[column[~left_out[row]]] = True
    verdict = np.where(hits, HIT, np.where(hits_left_out, LEFT_OUT, FALSE))
    return Matches(len(images), scores, np.repeat(np.arange(len(images)), said), verdict, best, truth_image, ~left_out)


def check_rule(overlap: str, threshold: float = 1.0) -> None:
    """Raise ValueError unless this is a rule to match by."""
    if overlap not in get_args(Overlap):
        raise ValueError(f"overlap={overlap!r} is unknown; choose one of {get_args(Overlap)}")
    if not 0 < threshold <= 1:
        raise ValueError(f"the threshold of the overlap is above 0 and at most 1, not {threshold!r}")


# ---- FROC ------------------------------------------------------------------------------------------------------------


def froc_curve(matches: Matches) -> FrocCurve:
    """Sensitivity beside false positives per image at each distinct score; nan where there is no true box."""
    thresholds = np.unique(matches.scores)[::-1]
    false = np.sort(matches.scores[matches.verdict == FALSE])
    best = np.sort(matches.best[matches.counted])
    false_positives, found = (len(each) - np.searchsorted(each, thresholds) for each in (false, best))
    return FrocCurve(thresholds, false_positives / matches.images, _share(found, np.array(len(best))))


def sensitivities(
    matches: Matches,
    rates: Sequence[float] = RATES,
    *,
    parts: Sequence[np.ndarray] | None = None,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """The largest sensitivity that costs no more false positives per image than each rate; (parts, b, rates).

    Args:
        parts: masks (T,): sensitivity among these true boxes, false positives of all. Default: all that count.
        weights: (b, images) how often each image counts, whole numbers. Default: once, in one row.

    A part without true boxes has nan. Between two points of the curve nothing is interpolated.
    """
    parts = [matches.counted] if parts is None else parts
    weights = np.ones((1, matches.images)) if weights is None else weights
    false = matches.verdict == FALSE
    order = np.argsort(-matches.scores[false], kind="stable")
    scores, images = matches.scores[false][order], matches.image_of[false][order]
    budgets = np.floor(np.multiply.outer(weights.sum(1), rates) + 1e-9)  # a count; the product may have lost an ulp
    allowed = np.stack(  # (b, rates): how many false positives, the surest first, may be let in
        [np.searchsorted(row[images].cumsum(), most, "right") for row, most in zip(weights, budgets, strict=True)]
    )
    # A true box costs the false positives that score at least its own best; one that is never hit costs too many.
    cost = np.searchsorted(-scores, -matches.best, "right") + np.isneginf(matches.best)
    found = []
    for part in parts:
        order = np.argsort(cost[part])
        drawn = weights[:, matches.truth_image[part][order]].cumsum(1)
        drawn = np.pad(drawn, ((0, 0), (1, 0)))  # (b, boxes + 1): boxes drawn among the cheapest 0, 1, 2, ...
        place = np.searchsorted(cost[part][order], allowed, "right")
        found.append(_share(np.take_along_axis(drawn, place, 1), drawn[:, -1:]))
    return np.stack(found)


def froc_report(
    matches: Matches,
    *,
    parts: Mapping[str, np.ndarray] | None = None,
    resamples: int = 0,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> dict[str, Any]:
    """``images``, ``boxes`` (true ones that count), ``left_out``, ``detections``: counts; ``scores``; ``parts``, where
    each has its own ``boxes`` and ``scores``; and ``curve``, the sensitivity at 57 rates from 1/8 to 16.

    Scores are ``sensitivity_RATE``, ``froc``, their mean over all of ``RATES``, ``froc_to_4``, that over 0.5, 1, 2 and
    4, and ``froc_luna16``, that over 1/8, 1/4, 1/2, 1, 2, 4 and 8. With ``resamples`` each has ``NAME_low`` and
    ``NAME_high``, the 95 % interval (nan for fewer than 3 groups); nothing is matched again.

    Args:
        parts: masks (T,) of true boxes, by name.
        resamples: of the bootstrap; 0 for no intervals.
        groups: (images,) what is resampled as one (patients); default: every image by itself.
    """
    masks = {"": matches.counted} | {name: mask & matches.counted for name, mask in (parts or {}).items()}
    told = sensitivities(matches, CURVE, parts=list(masks.values()))[:, 0]
    drawn = [
        sensitivities(matches, CURVE, parts=list(masks.values()), weights=weights)
        for weights in bootstrap_weights(matches.images, resamples, seed, groups)
    ]
    drawn = np.concatenate([np.empty((len(masks), 0, len(CURVE))), *drawn], axis=1)  # (parts, resamples, rates)
    entries = {
        name: {"boxes": int(mask.sum()), "scores": _told(at, of_part if resamples else None)}
        for (name, mask), at, of_part in zip(masks.items(), told, drawn, strict=True)
    }
    curve = {"false_positives": CURVE.tolist(), "sensitivity": told[0].tolist()}
    if resamples:
        low, high = zip(*map(interval, drawn[0].T), strict=True)
        curve |= {"low": list(low), "high": list(high)}
    return {
        "images": matches.images,
        "detections": len(matches.scores),
        "left_out": int((~matches.counted).sum()),
        **entries.pop(""),
        "parts": entries,
        "curve": curve,
    }


def _told(at: np.ndarray, drawn: np.ndarray | None) -> dict[str, float]:
    """Return the scores by name, from the curve (rates,) and those of its resamples (resamples, rates), if any."""
    scores = dict(zip(NAMES, _columns(at[None])[0].tolist(), strict=True))
    if drawn is not None:
        for name, values in zip(NAMES, _columns(drawn).T, strict=True):
            scores[f"{name}_low"], scores[f"{name}_high"] = interval(values)
    return scores


def _columns(curves: np.ndarray) -> np.ndarray:
    """(b, rates of ``CURVE``) to (b, ``NAMES``)."""
    at = curves[:, np.searchsorted(CURVE, RATES)]
    of_luna16 = curves[:, np.searchsorted(CURVE, LUNA16)].mean(1)
    return np.column_stack([at, at.mean(1), at[:, np.array(RATES) <= 4].mean(1), of_luna16])


# ---- COCO ------------------------------------------------------------------------------------------------------------


def coco_scores(images: Sequence[Detections]) -> dict[str, float]:
    """COCO's average precision of boxes with two axes (Lin et al. 2014): ``map``, the mean over IoU 0.5, 0.55, ... 0.95
    and over the labels, and ``ap50``, at IoU 0.5. nan where there is no true box.

    The best 100 detections of an image and label count. True boxes that are left out are COCO's crowds: neither hit nor
    missed, and a detection that lies in one by its own area (``iobb``) enough is ignored.

    Raises:
        ValueError: the boxes have three axes.
    """
    from faster_coco_eval import COCO, COCOeval_faster  # compiled code that one score needs

    said, true, categories = [], [], set()
    for number, image in enumerate(images):
        if image.boxes.shape[1] != 4:
            raise ValueError("COCO's precision is one of boxes with two axes, these have three")
        categories |= {*image.labels.tolist(), *image.truth_labels.tolist()}
        said += _annotations(number, image.boxes, image.labels, score=image.scores)
        true += _annotations(number, image.truth, image.truth_labels, iscrowd=image.left_out.astype(int))
    known = {
        "images": [{"id": number} for number in range(len(images))],
        "categories": [{"id": category} for category in sorted(categories)],
    }
    tables = [{**known, "annotations": [{"id": k, **box} for k, box in enumerate(boxes, 1)]} for boxes in (true, said)]
    evaluation = COCOeval_faster(*map(COCO, tables), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # (IoU, recall, label) of every area, 100 detections
    return {"map": _mean(precision), "ap50": _mean(precision[0])}


def _annotations(image: int, boxes: np.ndarray, labels: np.ndarray, **more: np.ndarray) -> list[dict[str, Any]]:
    """A dict for each box, with corner, width and height as COCO has them."""
    columns = {"bbox": np.column_stack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]), "area": box_size(boxes)}
    columns |= {"category_id": labels, **more}
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True), image_id=image) for row in rows]


def _mean(precision: np.ndarray) -> float:
    """Of what is known: -1 stands for a label without true boxes."""
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float("nan")


# ---- small things ----------------------------------------------------------------------------------------------------


def _or_zeros(values: np.ndarray | None, boxes: np.ndarray, kind: type) -> np.ndarray:
    return np.zeros(len(boxes), kind) if values is None else np.asarray(values, kind)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan), where=whole > 0)
