"""Every metric once more, in plain Python and by its definition, slow and easy to read: what the fast ones are held to.

Masks are sets of voxels (z, y, x); nothing here imports the package.
"""

import math
from itertools import product

NEIGHBOURS = [step for step in product((-1, 0, 1), repeat=3) if sum(map(abs, step)) == 1]


def voxels(array, region) -> set[tuple[int, int, int]]:
    """Where a nested list (D, H, W) holds one of the labels of ``region``."""
    return {
        (z, y, x)
        for z, plane in enumerate(array)
        for y, row in enumerate(plane)
        for x, label in enumerate(row)
        if label in region
    }


def ratio(part: float, whole: float) -> float:
    """A share; 0 / 0 is nan, x / 0 is inf."""
    if whole:
        return part / whole
    return math.nan if part == 0 else math.inf


# ---- overlap ---------------------------------------------------------------------------------------------------------


def dice(guess: set, truth: set) -> float:
    return ratio(2 * len(guess & truth), len(guess) + len(truth))


def iou(guess: set, truth: set) -> float:
    return ratio(len(guess & truth), len(guess | truth))


def volume_difference(guess: set, truth: set) -> float:
    return ratio(len(guess) - len(truth), len(truth))


# ---- surfaces --------------------------------------------------------------------------------------------------------


def distance(one, other, spacing) -> float:
    return math.sqrt(sum(((a - b) * step) ** 2 for a, b, step in zip(one, other, spacing, strict=True)))


def surface(mask: set, shape, *, mask_goes_on: bool) -> list:
    """The voxels with one of six neighbours outside the mask, which goes on beyond the volume or not."""

    def is_in(voxel) -> bool:
        inside = all(0 <= place < side for place, side in zip(voxel, shape, strict=True))
        return voxel in mask if inside else mask_goes_on

    moved = {voxel: [tuple(a + b for a, b in zip(voxel, step, strict=True)) for step in NEIGHBOURS] for voxel in mask}
    return [voxel for voxel in sorted(mask) if not all(map(is_in, moved[voxel]))]


def percentile(values, share: float) -> float:
    """Linear between the two nearest ranks, as NumPy's default."""
    values = sorted(values)
    rank = share / 100 * (len(values) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(values) - 1)
    return values[low] + (rank - low) * (values[high] - values[low])


def surface_scores(guess: set, truth: set, shape, spacing, definition: str, tolerance: float) -> dict[str, float]:
    """hd95, assd, mssd and nsd by the rules "monai", "medpy" or "chaos"."""
    one, other = (surface(mask, shape, mask_goes_on=definition == "chaos") for mask in (guess, truth))
    if not one or not other:
        far = math.inf if one or other else math.nan
        return {"hd95": far, "assd": far, "mssd": far, "nsd": 0.0 if far == math.inf else math.nan}
    there = [min(distance(a, b, spacing) for b in other) for a in one]
    back = [min(distance(a, b, spacing) for b in one) for a in other]
    both = there + back
    hd95 = percentile(both, 95) if definition == "medpy" else max(percentile(there, 95), percentile(back, 95))
    within = sum(length <= tolerance + 1e-6 for length in both)
    return {"hd95": hd95, "assd": sum(both) / len(both), "mssd": max(both), "nsd": within / len(both)}


def corner_scores(guess: set, truth: set, shape, spacing, tolerance: float, area_of) -> dict[str, float]:
    """The same by DeepMind's rule: corners where eight voxels meet that are not all alike, each with an area.

    Args:
        area_of: of the number whose binary digits say which of the eight are in the mask, the first the highest.
    """

    def corners(mask: set) -> dict[tuple, float]:
        found = {}
        for corner in product(*(range(side + 1) for side in shape)):
            around = [tuple(c - 1 + s for c, s in zip(corner, step, strict=True)) for step in product((0, 1), repeat=3)]
            code = sum(2 ** (7 - place) for place, voxel in enumerate(around) if voxel in mask)
            if 0 < code < 255:
                found[corner] = area_of(code)
        return found

    one, other = corners(guess), corners(truth)
    if not one or not other:
        far = math.inf if one or other else math.nan
        return {"hd95": far, "assd": far, "mssd": far, "nsd": 0.0 if far == math.inf else math.nan}
    there = sorted((min(distance(a, b, spacing) for b in other), area) for a, area in one.items())
    back = sorted((min(distance(a, b, spacing) for b in one), area) for a, area in other.items())
    area = sum(each for _, each in there + back)

    def within_95(way: list) -> float:
        total, reached = sum(each for _, each in way), 0.0
        for length, each in way:
            reached += each
            if reached / total >= 0.95 - 1e-12:
                return length
        return way[-1][0]

    return {
        "hd95": max(within_95(there), within_95(back)),
        "assd": sum(length * each for length, each in there + back) / area,
        "mssd": max(length for length, _ in there + back),
        "nsd": sum(each for length, each in there + back if length <= tolerance + 1e-6) / area,
    }


def hausdorff(guess: set, truth: set, spacing) -> float:
    """Of all voxels, not of surfaces."""
    if not guess or not truth:
        return math.inf if guess or truth else math.nan
    ways = ((guess, truth), (truth, guess))
    return max(min(distance(a, b, spacing) for b in end) for start, end in ways for a in start)


def gi_tract(cases: list[tuple[list[set], list[set]]], shape, *, empty_counts: bool) -> dict[str, float]:
    """The score of the GI Tract challenge, of cases that are a guessed and a true mask for each organ."""
    of_slices, of_cases = [], []
    for guessed, true in cases:
        for guess, truth in zip(guessed, true, strict=True):
            for z in range(shape[0]):
                value = dice({v for v in guess if v[0] == z}, {v for v in truth if v[0] == z})
                if not math.isnan(value) or empty_counts:
                    of_slices.append(0.0 if math.isnan(value) else value)
            if guess == truth:
                of_cases.append(1.0)
            elif not guess or not truth:
                of_cases.append(0.0)
            else:
                of_cases.append(1 - hausdorff(guess, truth, (1, 1, 1)) / math.sqrt(sum(side**2 for side in shape)))
    mean_dice = ratio(sum(of_slices), len(of_slices))
    mean_hausdorff = sum(of_cases) / len(of_cases)
    score = 0.4 * mean_dice + 0.6 * mean_hausdorff
    return {"score": score, "dice_slices": mean_dice, "hausdorff_score": mean_hausdorff}


# ---- classification --------------------------------------------------------------------------------------------------


def area_under_roc(scores, positive) -> float:
    """Pair by pair."""
    cases = list(zip(scores, positive, strict=True))
    pairs = [(a, b) for a, is_positive in cases if is_positive for b, other in cases if not other]
    return ratio(sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs), len(pairs))


def classification(probabilities, truth, threshold: float = 0.5) -> dict[str, float]:
    """The scores of ``classification_scores``, one case after another."""
    classes = len(probabilities[0])
    if classes == 2:
        said = [int(row[1] > threshold) for row in probabilities]
        auc = area_under_roc([row[1] for row in probabilities], [label == 1 for label in truth])
    else:
        said = [row.index(max(row)) for row in probabilities]
        areas = [
            area_under_roc([row[c] for row in probabilities], [label == c for label in truth]) for c in range(classes)
        ]
        auc = sum(areas) / classes
    pairs = list(zip(said, truth, strict=True))
    recalls = [ratio(pairs.count((c, c)), truth.count(c)) for c in range(classes)]
    tiny = 2.0**-126  # the least normal number of float32
    scores = {
        "auc": auc,
        "accuracy": sum(a == b for a, b in pairs) / len(pairs),
        "balanced_accuracy": sum(recalls) / classes,
        "log_loss": -sum(math.log(max(row[t], tiny)) for row, t in zip(probabilities, truth, strict=True)) / len(truth),
    }
    if classes > 2:
        return scores
    tp, fp, tn, fn = (pairs.count(pair) for pair in ((1, 1), (1, 0), (0, 0), (0, 1)))
    return scores | {
        "sensitivity": ratio(tp, tp + fn),
        "specificity": ratio(tn, tn + fp),
        "precision": ratio(tp, tp + fp),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "tp": tp,
        "fp": fp,
        "tn": tn,
        "fn": fn,
    }


def best_youden(scores, truth) -> float:
    """The largest sensitivity + specificity that any threshold has; nan without either class."""
    if len(set(truth)) < 2:
        return math.nan
    return max(youden(scores, truth, threshold) for threshold in [-1.0, *scores])


def youden(scores, truth, threshold: float) -> float:
    found = sum(score > threshold for score, label in zip(scores, truth, strict=True) if label == 1)
    spared = sum(score <= threshold for score, label in zip(scores, truth, strict=True) if label == 0)
    return found / truth.count(1) + spared / truth.count(0)


# ---- calibration -----------------------------------------------------------------------------------------------------


def calibration_error(probabilities, truth, bins: int, *, equal_mass: bool) -> float:
    """The expected calibration error, bin by bin."""
    answers = [(max(row), row.index(max(row)) == t) for row, t in zip(probabilities, truth, strict=True)]
    if equal_mass:
        answers.sort(key=lambda answer: answer[0])  # stable
        groups = [[a for rank, a in enumerate(answers) if rank * bins // len(answers) == b] for b in range(bins)]
    else:
        groups = [
            [a for a in answers if b / bins < a[0] <= (b + 1) / bins or (b == 0 and a[0] == 0)] for b in range(bins)
        ]
    total = 0.0
    for group in filter(None, groups):
        confidence = sum(sure for sure, _ in group) / len(group)
        accuracy = sum(right for _, right in group) / len(group)
        total += len(group) / len(answers) * abs(confidence - accuracy)
    return total


def brier(probabilities, truth) -> float:
    squares = [sum((p - (c == t)) ** 2 for c, p in enumerate(row)) for row, t in zip(probabilities, truth, strict=True)]
    return sum(squares) / len(squares)


def entropy(probabilities) -> float:
    return -sum(p * math.log(p) for p in probabilities if p > 0) / math.log(len(probabilities))


# ---- detection -------------------------------------------------------------------------------------------------------


def average_precision(images, iou_threshold: float) -> float:
    """COCO's, of one label, at one overlap: precision at the recalls 0, 0.01, ... 1, made to fall, in the mean.

    Args:
        images: each with boxes (x1, y1, x2, y2), their scores, and true boxes.
    """

    def overlap(a, b) -> float:
        width = min(a[2], b[2]) - max(a[0], b[0])
        height = min(a[3], b[3]) - max(a[1], b[1])
        if width <= 0 or height <= 0:
            return 0.0
        areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
        return width * height / (sum(areas) - width * height)

    hits = []
    for boxes, scores, true in images:
        free = list(range(len(true)))
        for score, box in sorted(zip(scores, boxes, strict=True), key=lambda pair: -pair[0]):
            near = [t for t in free if overlap(box, true[t]) >= iou_threshold]
            if near:
                free.remove(max(near, key=lambda t: overlap(box, true[t])))
            hits.append((score, bool(near)))
    total = sum(len(true) for _, _, true in images)
    hits.sort(key=lambda hit: -hit[0])
    curve, found = [], 0
    for count, (_, hit) in enumerate(hits, start=1):
        found += hit
        curve.append((found / total, found / count))
    levels = [max((p for r, p in curve if r >= step / 100 - 1e-12), default=0.0) for step in range(101)]
    return sum(levels) / len(levels)
