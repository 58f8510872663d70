"""Every fast metric against its slow definition in plain Python, on random small cases."""

import math

import numpy as np
import pytest
import reference_metrics as slow
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics.utils import get_code_to_measure_table

from medseg.evaluation import GITractScore, SegmentationScores, case_scores
from vdt3d.evaluation import (
    Detections,
    calibration_scores,
    classification_scores,
    coco_scores,
    hausdorff_distance,
    reliability,
    youden_threshold,
)
from vdt3d.structures import LabelMap, affine_from_spacing

SEEDS = st.integers(0, 2**32 - 1)
SPACINGS = st.sampled_from([(1.0, 1.0, 1.0), (3.0, 0.5, 2.0)])
REGIONS = {"one": 1, "two": 2, "both": (1, 2)}


def drawn(seed: int) -> tuple[np.random.Generator, tuple[int, int, int]]:
    rng = np.random.default_rng(seed)
    return rng, tuple(rng.integers(2, 5, 3).tolist())  # one slice is scored in its plane


def label_maps(rng: np.random.Generator, shape) -> list[np.ndarray]:
    """A guess and a truth of labels 0, 1 and 2, from empty to full, and sometimes equal."""
    maps = [rng.choice(3, shape, p=rng.dirichlet([0.5, 0.5, 0.5])).astype(np.uint8) for _ in range(2)]
    return [maps[0], maps[0].copy()] if rng.random() < 0.1 else maps


def members(label) -> tuple[int, ...]:
    return label if isinstance(label, tuple) else (label,)


def same(found: dict, wanted: dict) -> None:
    assert {name: found[name] for name in wanted} == {
        name: pytest.approx(value, rel=1e-6, abs=1e-9, nan_ok=True) for name, value in wanted.items()
    }


@settings(max_examples=150, deadline=None)
@given(SEEDS, SPACINGS, st.sampled_from(["monai", "medpy", "chaos", "deepmind"]), st.sampled_from([0.0, 1.0, 2.2]))
def test_scores_of_a_case(seed, spacing, definition, tolerance):
    rng, shape = drawn(seed)
    arrays = label_maps(rng, shape)
    guess, truth = (LabelMap(array[None], affine_from_spacing(spacing)) for array in arrays)
    found = case_scores(guess, truth, REGIONS, definition=definition, tolerance=tolerance)
    for name, label in REGIONS.items():
        one, other = (slow.voxels(array.tolist(), members(label)) for array in arrays)
        wanted = {
            "dice": slow.dice(one, other),
            "iou": slow.iou(one, other),
            "volume_difference": slow.volume_difference(one, other),
        }
        if definition == "deepmind":
            areas = get_code_to_measure_table(list(spacing))[0].tolist()  # the library's own, by number of the corner
            wanted |= slow.corner_scores(one, other, shape, spacing, tolerance, areas.__getitem__)
        else:
            wanted |= slow.surface_scores(one, other, shape, spacing, definition, tolerance)
        same(found[name], wanted)


def samples(cases) -> list[dict]:
    """What a metric is handed of pairs of arrays."""
    return [
        {"sample_name": f"case{n}", "pred_labels": LabelMap(guess[None]), "reference": LabelMap(truth[None])}
        for n, (guess, truth) in enumerate(cases)
    ]


def mean(values) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_scores_of_several_cases(seed):
    rng, shape = drawn(seed)
    cases = [label_maps(rng, shape) for _ in range(3)]
    metric = SegmentationScores(REGIONS, surface=False)
    metric.process(None, samples(cases))
    found = metric.evaluate(3)
    masks = {
        name: [[slow.voxels(array.tolist(), members(label)) for array in case] for case in cases]
        for name, label in REGIONS.items()
    }
    of_cases = [mean(slow.dice(*masks[name][number]) for name in REGIONS) for number in range(3)]
    together = {  # the voxels of case n apart from those of all others
        name: [{(n, v) for n, case in enumerate(of_label) for v in case[side]} for side in (0, 1)]
        for name, of_label in masks.items()
    }
    wanted = {
        "dice": mean(of_cases),
        "dice_pooled": mean(slow.dice(*pair) for pair in together.values()),
        "iou_pooled": mean(slow.iou(*pair) for pair in together.values()),
        **{f"dice_{name}": mean(slow.dice(*pair) for pair in masks[name]) for name in REGIONS},
    }
    same(found, wanted)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.sampled_from(["nan", "published"]))
def test_the_score_of_the_gi_tract_challenge(seed, empty):
    rng, shape = drawn(seed)
    cases = [label_maps(rng, shape) for _ in range(2)]
    metric = GITractScore({"one": 1, "two": 2}, empty=empty)
    metric.process(None, samples(cases))
    organs = [[[slow.voxels(array.tolist(), (label,)) for label in (1, 2)] for array in case] for case in cases]
    same(metric.evaluate(2), slow.gi_tract(organs, shape, empty_counts=empty == "published"))


@settings(max_examples=40, deadline=None)
@given(SEEDS, SPACINGS)
def test_the_distance_of_all_voxels(seed, spacing):
    rng, shape = drawn(seed)
    arrays = label_maps(rng, shape)
    found = hausdorff_distance(*(array == 1 for array in arrays), spacing)
    wanted = slow.hausdorff(*(slow.voxels(array.tolist(), (1,)) for array in arrays), spacing)
    assert found == pytest.approx(wanted, nan_ok=True)


def answers(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, k) in steps of 0.05, so that ties are common, and truth."""
    rng = np.random.default_rng(seed)
    count, classes = rng.integers(1, 25), rng.integers(2, 5)
    return rng.multinomial(20, rng.dirichlet(np.ones(classes)), count) / 20, rng.integers(0, classes, count)


@settings(max_examples=200, deadline=None)
@given(SEEDS, st.sampled_from([0.2, 0.5, 0.85]))
def test_scores_of_a_classifier(seed, threshold):
    probabilities, truth = answers(seed)
    two = probabilities.shape[1] == 2
    found = classification_scores(probabilities, truth, threshold=threshold if two else None)
    same(
        {name: value.item() for name, value in found.items()},
        slow.classification(probabilities.tolist(), truth.tolist(), threshold),
    )


@settings(max_examples=150, deadline=None)
@given(SEEDS)
def test_the_threshold_of_youden(seed):
    probabilities, truth = answers(seed)
    scores, truth = probabilities[:, 0].tolist(), (truth > 0).astype(int).tolist()
    threshold, best = youden_threshold(np.array(scores), np.array(truth)), slow.best_youden(scores, truth)
    if math.isnan(best):
        assert math.isnan(threshold)
    else:
        assert slow.youden(scores, truth, threshold) == pytest.approx(best)


@settings(max_examples=150, deadline=None)
@given(SEEDS, st.sampled_from([1, 4, 15]))
def test_calibration(seed, bins):
    probabilities, truth = answers(seed)
    # In the middle of steps of a 40th no confidence lies on the end of a bin, where rounding would decide.
    probabilities = np.where(np.arange(probabilities.shape[1]) == 0, probabilities + 1 / 400, probabilities)
    probabilities /= probabilities.sum(1, keepdims=True)
    rows, labels = probabilities.tolist(), truth.tolist()
    wanted = {
        "ece": slow.calibration_error(rows, labels, bins, equal_mass=False),
        "ece_equal_mass": slow.calibration_error(rows, labels, bins, equal_mass=True),
        "brier": slow.brier(rows, labels),
        "log_loss": slow.classification(rows, labels)["log_loss"],
    }
    same(calibration_scores(probabilities, truth, bins=bins), wanted)
    for equal_mass in (False, True):
        curve = reliability(probabilities, truth, bins=bins, equal_mass=equal_mass)
        assert curve.count.sum() == len(labels) and curve.count.min() > 0


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_the_average_precision_of_coco(seed):
    rng = np.random.default_rng(seed)
    images, plain = [], []
    for _ in range(rng.integers(1, 4)):
        truth = rng.random((rng.integers(1, 4), 4)) * 10
        truth[:, 2:] += truth[:, :2] + 1
        near = truth[rng.integers(len(truth), size=rng.integers(0, 6))]
        boxes = near + rng.normal(scale=0.5, size=near.shape)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 0.1)
        scores = rng.random(len(boxes))
        images.append(Detections(boxes, scores, truth))
        plain.append((boxes.tolist(), scores.tolist(), truth.tolist()))
    levels = [slow.average_precision(plain, 0.5 + 0.05 * step) for step in range(10)]
    same(coco_scores(images), {"map": sum(levels) / 10, "ap50": levels[0]})
