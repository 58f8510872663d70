"""Scores of detections: FROC and COCO's precision worked out by hand, FROC beside a slow textbook too."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.evaluator import Evaluator

from vdt3d.evaluation import (
    Detections,
    coco_scores,
    direction_of,
    froc_curve,
    froc_report,
    match,
    sensitivities,
)
from vdt3d.evaluation.detection import CURVE, NAMES, RATES
from vdt3d.registry import METRICS
from vdt3d.structures import Boxes, DetectionSample, affine_from_spacing
from vdt3d.visualization import froc_curves, save

NONE = np.empty((0, 4))


def image(truth=(), said=(), **known) -> Detections:
    """``truth``: boxes; ``said``: boxes with their score behind them."""
    said = np.array(said, float).reshape(-1, 5)
    return Detections(said[:, :4], said[:, 4], np.array(truth, float).reshape(-1, 4), **known)


# Two images, three true boxes, seven detections: the example the original release's rule was worked out on.
GOLDEN = [
    image(
        [(0, 0, 10, 10), (20, 20, 30, 30)],
        [(0, 0, 10, 10, 0.9), (1, 1, 10, 10, 0.8), (50, 50, 60, 60, 0.7), (20, 20, 30, 28, 0.3)],
    ),
    image([(5, 5, 15, 15)], [(40, 40, 50, 50, 0.95), (5, 5, 15, 14, 0.6), (0, 0, 3, 3, 0.2)]),
]


# ---- overlap ---------------------------------------------------------------------------------------------------------


# ---- the curve -------------------------------------------------------------------------------------------------------


def test_the_golden_example():
    curve = froc_curve(match(GOLDEN))
    assert curve.thresholds.tolist() == [0.95, 0.9, 0.8, 0.7, 0.6, 0.3, 0.2]
    assert curve.sensitivity.tolist() == [0, 1 / 3, 1 / 3, 1 / 3, 2 / 3, 1, 1]
    assert curve.false_positives.tolist() == [0.5, 0.5, 0.5, 1, 1, 1, 1.5]


def test_sensitivity_is_the_largest_at_no_more_false_positives():
    at = sensitivities(match(GOLDEN), (0, 0.49, 0.5, 0.99, 1, 16))[0, 0]
    assert at.tolist() == [0, 0, 1 / 3, 1 / 3, 1, 1]  # nothing is interpolated between 0.5 and 1


def test_a_rate_is_reached_though_its_product_is_not():
    images = [image([(0, 0, 9, 9)], [(0, 0, 9, 9, 0.5)])] + [image(said=[(0, 0, 9, 9, 0.9)])] * 29 + [image()] * 70
    assert 0.29 * 100 < 29  # in floating point
    assert sensitivities(match(images), (0.28, 0.29)).tolist() == [[[0, 1]]]


def test_means_over_the_rates():
    scores = froc_report(match(GOLDEN))["scores"]
    assert tuple(scores) == NAMES
    assert scores["froc"] == pytest.approx((1 / 3 + 5) / 6)  # 1/3 at 0.5, 1 at 1, 2, 4, 8 and 16
    assert scores["froc_to_4"] == pytest.approx((1 / 3 + 3) / 4)
    assert scores["froc_luna16"] == pytest.approx((0 + 0 + 1 / 3 + 4) / 7)


def test_one_box_may_hit_several_and_a_second_on_the_same_is_neither():
    truth = [(0, 0, 10, 10), (0, 0, 10, 9)]  # IoU of either with the whole: 1 and 0.9
    curve = froc_curve(match([image(truth, [(0, 0, 10, 10, 0.9), (0, 0, 10, 10, 0.8)])]))
    assert curve.sensitivity.tolist() == [1, 1] and curve.false_positives.tolist() == [0, 0]


def test_an_overlap_at_the_threshold_is_enough():
    half = [image([(0, 0, 10, 10)], [(0, 0, 10, 5, 0.9)])]  # 50 / 100
    assert sensitivities(match(half)).min() == 1
    assert sensitivities(match(half, threshold=0.51)).max() == 0
    assert match(half, overlap="iobb", threshold=1).verdict.tolist() == [1]  # 50 / 50


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_equal_scores_enter_together_in_whatever_order(order):
    # A hit and a false positive at 0.5, another hit at 0.4: no threshold has a hit without the false positive.
    said = [(0, 0, 10, 10, 0.5), (50, 50, 60, 60, 0.5), (20, 20, 30, 30, 0.4)]
    matches = match([image([(0, 0, 10, 10), (20, 20, 30, 30)], [said[k] for k in order])])
    assert sensitivities(matches, (0.5, 0.99, 1))[0, 0].tolist() == [0, 0, 1]
    curve = froc_curve(matches)
    assert curve.false_positives.tolist() == [1, 1] and curve.sensitivity.tolist() == [0.5, 1]


def test_images_without_true_boxes_count():
    quiet, loud = image(), image(said=[(0, 0, 1, 1, 0.99)])
    matches = match([*GOLDEN, quiet, loud])  # one false positive more, ahead of all, of four images
    assert froc_curve(matches).false_positives.tolist() == [0.25, 0.5, 0.5, 0.5, 0.75, 0.75, 0.75, 1]
    assert sensitivities(matches, (0.25, 0.5, 0.75))[0, 0].tolist() == [0, 1 / 3, 1]


def test_nothing_said():
    matches = match([image([(0, 0, 10, 10)]), image()])
    assert sensitivities(matches).tolist() == [[[0] * 6]]
    assert [len(each) for each in froc_curve(matches)] == [0, 0, 0]
    assert coco_scores([image([(0, 0, 10, 10)])]) == {"map": 0, "ap50": 0}


def test_nothing_to_find_has_no_sensitivity():
    images = [image(said=[(0, 0, 10, 10, 0.9)]), image()]
    assert np.isnan(sensitivities(match(images))).all()
    assert np.isnan(froc_curve(match(images)).sensitivity).all()
    assert all(math.isnan(value) for value in coco_scores(images).values())


def test_a_box_of_another_label_is_no_hit():
    said = [(0, 0, 10, 10, 0.9)]
    matches = match([image([(0, 0, 10, 10)], said, labels=[1], truth_labels=[0])])
    assert matches.verdict.tolist() == [0] and sensitivities(matches).max() == 0


def test_true_boxes_that_are_left_out_are_neither_hit_nor_missed():
    first = image(
        [(0, 0, 10, 10), (20, 20, 30, 30)],
        [(0, 0, 10, 10, 0.9), (20, 20, 30, 28, 0.8), (50, 50, 60, 60, 0.7)],
        left_out=[False, True],
    )
    matches = match([first])
    assert matches.verdict.tolist() == [1, -1, 0]
    assert sensitivities(matches, (0,)).tolist() == [[[1]]]
    assert froc_report(matches)["boxes"] == froc_report(matches)["left_out"] == 1


def test_parts_share_the_false_positives_of_all():
    lung, liver = np.array([True, True, False]), np.array([False, False, True])
    at = sensitivities(match(GOLDEN), (0.5, 1), parts=[lung, liver, lung & liver])[:, 0]
    assert at[:2].tolist() == [[0.5, 1], [0, 1]]  # the liver's is hit at 0.6, behind the second false positive at 0.7
    assert np.isnan(at[2]).all()


# ---- beside the textbook ---------------------------------------------------------------------------------------------


def textbook(images: list[Detections], kind: str, threshold: float) -> list[tuple[float, float, float]]:
    """(threshold, false positives per image, sensitivity) behind each run of equal scores, one detection at a time."""
    pool = [(score, i, k) for i, image in enumerate(images) for k, score in enumerate(image.scores.tolist())]
    pool.sort(key=lambda entry: -entry[0])
    counted = sum(1 for image in images for out in image.left_out if not out)
    hit, false, points = set(), 0, []
    for place, (score, i, k) in enumerate(pool):
        image = images[i]
        enough = [
            t
            for t in range(len(image.truth))
            if image.labels[k] == image.truth_labels[t]
            and plain_overlap(image.boxes[k].tolist(), image.truth[t].tolist(), kind) >= threshold
        ]
        hit |= {(i, t) for t in enough if not image.left_out[t]}
        false += not enough
        if place + 1 == len(pool) or pool[place + 1][0] != score:
            points.append((score, false / len(images), len(hit) / counted if counted else math.nan))
    return points


def plain_overlap(box: list[float], true: list[float], kind: str) -> float:
    axes = len(box) // 2
    both = own = other = 1.0
    for a in range(axes):
        both *= max(0.0, min(box[a + axes], true[a + axes]) - max(box[a], true[a]))
        own *= box[a + axes] - box[a]
        other *= true[a + axes] - true[a]
    whole = own if kind == "iobb" else own + other - both
    return both / whole if whole else 0.0


@st.composite
def made_up_images(draw) -> list[Detections]:
    """Boxes on a coarse grid and scores of few values, so that overlaps, duplicates and ties are common."""
    axes, count = draw(st.sampled_from([2, 3])), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def boxes(most: int) -> np.ndarray:
        corner = rng.integers(0, 3, (rng.integers(most + 1), axes))
        return np.concatenate([corner, corner + rng.integers(0, 4, corner.shape)], axis=1).astype(float)

    images = []
    for _ in range(count):
        said, truth = boxes(8), boxes(3)
        scores = rng.integers(0, 5, len(said)) / 4
        labels, truth_labels = (rng.integers(0, 2, len(each)) for each in (said, truth))
        images.append(Detections(said, scores, truth, labels, truth_labels, rng.random(len(truth)) < 0.2))
    return images


@settings(max_examples=150, deadline=None)
@given(made_up_images(), st.sampled_from(["iou", "iobb"]), st.sampled_from([0.25, 0.5]))
def test_the_textbook_says_the_same(images, kind, threshold):
    points = textbook(images, kind, threshold)
    matches = match(images, overlap=kind, threshold=threshold)
    np.testing.assert_array_equal(np.transpose(froc_curve(matches)), np.array(points).reshape(-1, 3))
    if not matches.counted.any():
        return
    rates = [0, 0.25, 1 / 3, 0.5, 1, 2, 4]
    best = [max((share for _, false, share in points if false <= rate), default=0) for rate in rates]
    assert sensitivities(matches, rates)[0, 0].tolist() == best


@settings(max_examples=50, deadline=None)
@given(made_up_images(), st.integers(0, 100))
def test_weights_are_images_said_again(images, seed):
    """What a resample scores without matching is what its images score when they are matched anew."""
    times = np.random.default_rng(seed).multinomial(len(images), [1 / len(images)] * len(images))
    repeated = match([image for image, count in zip(images, times, strict=True) for _ in range(count)])
    weighted = sensitivities(match(images), CURVE, weights=times[None].astype(float))
    np.testing.assert_array_equal(weighted, sensitivities(repeated, CURVE))


# ---- intervals -------------------------------------------------------------------------------------------------------


def test_intervals_follow_the_groups():
    report = froc_report(match(GOLDEN * 2), resamples=200)
    # Of the first image alone: hits at 0.9 and 0.3 around one false positive per image; of the second alone: its hit
    # follows a false positive. So at 0.5 sensitivity is 1/2, 1/3 or 0, and at 1 it is always 1.
    assert (report["scores"]["sensitivity_0.5_low"], report["scores"]["sensitivity_0.5_high"]) == (0, 0.5)
    assert (report["scores"]["sensitivity_1_low"], report["scores"]["sensitivity_1_high"]) == (1, 1)
    assert report["curve"]["low"][CURVE.tolist().index(0.5)] == 0
    together = froc_report(match(GOLDEN * 3), resamples=20, groups=np.arange(6) // 2)["scores"]
    assert together["froc_low"] == together["froc"] == together["froc_high"]


def test_the_curve_goes_through_the_rates():
    assert CURVE[0] == 1 / 8 and len(CURVE) == 57 and set(RATES) <= set(CURVE.tolist())
    curve = froc_report(match(GOLDEN))["curve"]
    assert curve["sensitivity"] == [0] * 16 + [1 / 3] * 8 + [1] * 33  # from 0.5 = 2 ** (-3 + 16 / 8) on, and from 1 on


# ---- COCO ------------------------------------------------------------------------------------------------------------


def test_coco_by_hand():
    truth = [(0, 0, 10, 10)]
    # IoU 0.81 is enough at 0.5, 0.55, ... 0.8, seven of the ten.
    assert coco_scores([image(truth, [(0, 0, 10, 8.1, 0.9)])]) == pytest.approx({"map": 0.7, "ap50": 1})
    # One false positive before it: precision 1/2 wherever there is any.
    said = [(50, 50, 60, 60, 0.9), (0, 0, 10, 10, 0.8)]
    assert coco_scores([image(truth, said)]) == pytest.approx({"map": 0.5, "ap50": 0.5})
    # One of two is found: precision 1 at recall 0, 0.01, ... 0.5, 51 of 101; with the other left out 1 at all.
    two = [(0, 0, 10, 10), (20, 20, 30, 30)]
    assert coco_scores([image(two, said[1:])])["ap50"] == pytest.approx(51 / 101)
    assert coco_scores([image(two, said[1:], left_out=[False, True])])["ap50"] == pytest.approx(1)


def test_coco_takes_the_mean_over_labels():
    truth, said = [(0, 0, 10, 10), (20, 20, 30, 30)], [(0, 0, 10, 10, 0.9), (20, 20, 30, 30, 0.8)]
    # Label 0 is found, label 3 is not; a label that is only predicted has no precision.
    scores = coco_scores([image(truth, said, labels=[0, 7], truth_labels=[0, 3])])
    assert scores == pytest.approx({"map": 0.5, "ap50": 0.5})


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("boxes", "scores", "truth", "known", "message"),
    [
        (np.zeros((2, 4)), [1.0], NONE, {}, r"2 boxes have scores of shape \(1,\)"),
        (np.zeros((2, 4)), [[1.0], [2.0]], NONE, {}, r"2 boxes have scores of shape \(2, 1\)"),
        (np.zeros((1, 4)), [1.0], NONE, {"labels": [0, 0]}, "1 boxes have labels"),
        (NONE, [], np.zeros((1, 4)), {"left_out": []}, "1 boxes have left_out"),
        (np.zeros((1, 4)), [1.0], np.zeros((1, 6)), {}, r"got \(1, 4\) and \(1, 6\)"),
        (np.zeros((1, 5)), [1.0], np.zeros((1, 5)), {}, r"boxes are \(N, 4\) or \(N, 6\)"),
        (np.zeros((1, 4)), [math.nan], NONE, {}, "diverged"),
        (np.full((1, 4), math.inf), [1.0], NONE, {}, "not finite"),
    ],
)
def test_bad_arrays_are_refused(boxes, scores, truth, known, message):
    with pytest.raises(ValueError, match=message):
        Detections(boxes, scores, truth, **known)


def test_bad_rules_are_refused():
    with pytest.raises(ValueError, match="overlap='IoBB' is unknown"):
        match(GOLDEN, overlap="IoBB")
    for threshold in (0, 1.5, math.nan):
        with pytest.raises(ValueError, match="above 0 and at most 1"):
            match(GOLDEN, threshold=threshold)
    with pytest.raises(ValueError, match="no images"):
        match([])
    volume = Detections(np.zeros((0, 6)), [], np.zeros((1, 6)))
    with pytest.raises(ValueError, match="score them apart"):
        match([*GOLDEN, volume])
    with pytest.raises(ValueError, match="two axes"):
        coco_scores([volume])


# ---- the metric ------------------------------------------------------------------------------------------------------

AFFINE = affine_from_spacing((2.5, 0.8, 0.8))


def sample(name: str, truth=(), said=(), *, slices=((4, 5), (4, 5)), affine=AFFINE, group="", **facts) -> dict:
    """As a detector answers: ``truth`` and ``said`` are (x1, y1, x2, y2), said ones with a score, in a slice each."""
    corners = []
    for boxes, (low, high) in zip((truth, said), slices, strict=True):
        x1, y1, x2, y2 = np.array(boxes, float).reshape(len(boxes), -1)[:, :4].T if len(boxes) else np.empty((4, 0))
        corners.append(np.stack([np.full_like(x1, low), y1, x1, np.full_like(x1, high), y2, x2], axis=1))
    reference = Boxes(corners[0], affine=AFFINE, facts={key: np.array(values) for key, values in facts.items()})
    answer = DetectionSample(metainfo={"sample_name": name, "group": group, "reference": reference})
    answer.pred_boxes = Boxes(corners[1], affine=affine)
    answer.pred_scores = np.array([box[4] for box in said], float)
    return answer


def golden(copies: int = 1, **known) -> list[DetectionSample]:
    """The golden example in windows, the truth with facts; ``copies`` of it."""
    facts = [
        {"type": ["lung", "soft tissue"], "diameter_mm": [9.9, 30.0], "noisy": [False, True]},
        {"type": ["lung"], "diameter_mm": [30.1], "noisy": [False]},
    ]
    return [
        sample(
            f"scan/{2 * copy + number}",
            each.truth.tolist(),
            np.column_stack([each.boxes, each.scores]).tolist(),
            group=f"patient {2 * copy + number}",
            **known,
            **facts[number],
        )
        for copy in range(copies)
        for number, each in enumerate(GOLDEN)
    ]


def evaluate(samples: list[DetectionSample], **options) -> dict[str, float]:
    evaluator = Evaluator([METRICS.build({"type": "DetectionScores", **options})])
    evaluator.process(data_samples=samples)
    return evaluator.evaluate(len(samples))


def test_the_metric_scores_the_golden_example():
    scores = evaluate(golden())
    of_curve = froc_report(match(GOLDEN))["scores"]
    assert {name: scores[name] for name in of_curve} == of_curve
    # To COCO the duplicate is a false positive: the hits are the 2nd, 5th and 6th, precision 1/2, 2/5, 3/6; of each
    # and what follows the best is 1/2.
    assert scores["ap50"] == pytest.approx(0.5) and 0 < scores["map"] < 0.5
    parts = {name: value for name, value in scores.items() if name.startswith("sensitivity_4_")}
    sizes = ("below_10_mm", "10_to_30_mm", "above_30_mm")  # 9.9, 30.0 and 30.1 mm
    assert parts == {f"sensitivity_4_{part}": 1 for part in ("type_lung", "type_soft_tissue", *sizes)}


def test_sizes_by_hand(tmp_path):
    boxes = [(x, 0, x + 5, 5) for x in (0, 10, 20, 30, 40)]
    samples = [sample("a", boxes, diameter_mm=[9.9, 10.0, 30.0, 30.1, math.nan]), sample("b", boxes[:1])]
    evaluate(samples, out=str(tmp_path / "scores.json"))
    parts = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))["parts"]
    sizes = {name: part["boxes"] for name, part in parts.items()}
    assert sizes == {"below_10_mm": 1, "10_to_30_mm": 2, "above_30_mm": 1}


def test_patients_are_drawn_whole_where_all_are_known():
    apart = evaluate(golden(3), resamples=50)
    assert apart["froc_low"] < apart["froc"] < apart["froc_high"]
    assert "sensitivity_4_type_lung_low" in apart and "map_low" not in apart
    for number, each in enumerate(pairs := golden(3)):
        each.set_metainfo({"group": f"patient {number // 2}"})
    together = evaluate(pairs, resamples=50)
    assert together["froc_low"] == together["froc"] == together["froc_high"]
    pairs[0].set_metainfo({"group": ""})  # it is drawn by itself
    assert evaluate(pairs, resamples=50)["froc_low"] < together["froc_low"]


def test_a_best_checkpoint_can_be_chosen_by_it():
    assert "froc" in evaluate(golden())
    assert direction_of("froc", [METRICS.build({"type": "DetectionScores"})], "save_best") == "greater"


def test_noisy_boxes_can_be_left_out():
    # Its detection at 0.3 leaves the second true box, the second false positive (0.7) still precedes the hit at 0.6.
    scores = evaluate(golden(), leave_out_noisy=True)
    assert (scores["sensitivity_0.5"], scores["sensitivity_1"]) == (1 / 2, 1)
    assert math.isnan(scores["sensitivity_4_type_soft_tissue"])
    nothing_noisy = [sample("a", [(0, 0, 9, 9)], [(0, 0, 9, 9, 1.0)])]
    assert evaluate(nothing_noisy, leave_out_noisy=True)["froc"] == 1


def test_order_of_gathering_changes_nothing():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 5, (7, 2, 4)).cumsum(2)
    said = np.concatenate([truth + rng.normal(size=truth.shape) * [0, 0, 0.5, 0.5], rng.random((7, 2, 1))], axis=2)
    said[:, :, 2:4] = np.maximum(said[:, :, 2:4], said[:, :, :2])
    samples = [sample(f"{n}", truth[n].tolist(), said[n].tolist()) for n in range(7)]
    one_process = evaluate(samples, resamples=50)
    two_processes = METRICS.build({"type": "DetectionScores", "resamples": 50})
    for part in (samples[1::2], samples[0::2]):
        two_processes.process(None, [each.to_dict() for each in part])
    assert two_processes.evaluate(7) == one_process
    assert one_process["froc_low"] <= one_process["froc"] <= one_process["froc_high"]


def test_three_axes():
    samples = [sample("a", [(0, 0, 9, 9)], [(0, 0, 9, 9, 0.9)], slices=((2, 6), (4, 8)))]
    assert evaluate(samples, dims=3)["froc"] == 0  # half of four slices are shared: IoU 2 / 6
    scores = evaluate(samples, dims=3, overlap="iobb")  # 2 / 4
    assert scores["froc"] == 1 and "map" not in scores
    assert evaluate(samples)["froc"] == 1  # height and width alone


def test_files(tmp_path):
    out = tmp_path / "new" / "scores.json"
    scores = evaluate(golden(), out=str(out), resamples=20, leave_out_noisy=True)
    assert sorted(path.name for path in out.parent.iterdir()) == ["scores.csv", "scores.json"]
    report = json.loads(out.read_text(encoding="utf-8"))
    assert {key: report[key] for key in ("overlap", "threshold", "dims", "leave_out_noisy")} == {
        "overlap": "iou",
        "threshold": 0.5,
        "dims": 2,
        "leave_out_noisy": True,
    }
    assert [report[key] for key in ("images", "boxes", "left_out", "detections")] == [2, 2, 1, 7]
    told = {name: None if math.isnan(scores[name]) else scores[name] for name in report["scores"]}
    assert told == report["scores"] and told["froc_low"] is None  # two patients have no interval
    assert report["parts"]["type_lung"]["boxes"] == 2
    assert report["parts"]["type_soft_tissue"] == {"boxes": 0, "scores": dict.fromkeys(_with_ends(NAMES))}  # null
    table = pd.read_csv(out.with_suffix(".csv"), dtype={"image": str})
    assert table.columns.tolist() == ["image", "x1", "y1", "x2", "y2", "label", "score", "hit"]
    assert table["hit"].fillna(-1).tolist() == [1, 1, 0, -1, 0, 1, 0]  # the fourth lies on the noisy one
    assert table.loc[3, ["image", "x1", "y2", "score"]].tolist() == ["scan/0", 20, 28, 0.3]


def _with_ends(names: tuple[str, ...]) -> list[str]:
    return [*names, *(f"{name}_{end}" for name in names for end in ("low", "high"))]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pred_boxes": None}, "image 'a': wanted Boxes .* got NoneType, Boxes"),
        ({"reference": None}, "image 'a': wanted Boxes .* got Boxes, NoneType"),
        ({"pred_boxes": Boxes(np.zeros((1, 6)))}, "another grid .* Boxes.on"),
        ({"pred_scores": np.zeros(3)}, r"image 'a': 1 boxes have scores of shape \(3,\)"),
        ({"pred_scores": np.array([math.nan])}, "image 'a': .* diverged"),
    ],
)
def test_the_metric_names_the_image_it_refuses(changed, message):
    metric = METRICS.build({"type": "DetectionScores"})
    with pytest.raises(ValueError, match=message):
        metric.process(None, [sample("a", [(0, 0, 9, 9)], [(0, 0, 9, 9, 0.9)]).to_dict() | changed])


def test_boxes_of_different_slices_are_not_compared_in_two_dimensions():
    with pytest.raises(ValueError, match=r"image 'a': no slice is in all boxes .* at 5, one ends at 5.*dims=3"):
        evaluate([sample("a", [(0, 0, 9, 9)], [(0, 0, 9, 9, 0.9)], slices=((4, 5), (5, 6)))])


def test_two_images_of_one_name_are_refused():
    with pytest.raises(ValueError, match="2 images have only 1 names"):
        evaluate([sample("a"), sample("a")])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dims": 1}, "2 or 3 dimensions"),
        ({"out": "scores.csv"}, "ends in .json"),
        ({"overlap": "dice"}, "choose one of"),
        ({"threshold": 0}, "above 0"),
    ],
)
def test_bad_settings_are_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        METRICS.build({"type": "DetectionScores", **options})


# ---- the picture -----------------------------------------------------------------------------------------------------


def reports(folder: Path) -> dict[str, Path]:
    runs = {"3D": folder / "3d.json", "2D": folder / "2d.json"}
    evaluate(golden(2), out=str(runs["3D"]), resamples=20)
    evaluate([sample("a", [(0, 0, 9, 9)], [(0, 0, 9, 9, 0.9)])], out=str(runs["2D"]))
    return runs


def test_curves_of_two_runs(tmp_path):
    runs = reports(tmp_path)
    figure = froc_curves(runs)
    (axes,) = figure.axes
    first, second = axes.lines
    assert first.get_ydata().tolist() == [0] * 16 + [1 / 3] * 8 + [1] * 33
    assert second.get_ydata().tolist() == [1] * 57
    assert (first.get_linestyle(), first.get_color()) != (second.get_linestyle(), second.get_color())
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["3D, 0.889", "2D, 1.000"]
    assert len(axes.collections) == 1  # a band for the one that was resampled
    save(figure, tmp_path / "froc.png")
    assert (tmp_path / "froc.png").stat().st_size > 1000


def test_what_cannot_be_drawn_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no curves"):
        froc_curves({})
    with pytest.raises(FileNotFoundError):
        froc_curves({"run": tmp_path / "absent.json"})
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match=r"other\.json: no json that DetectionScores wrote"):
        froc_curves({"run": tmp_path / "other.json"})
    evaluate([sample("a")], out=str(tmp_path / "nothing.json"))
    with pytest.raises(ValueError, match=r"nothing\.json: there was no true box"):
        froc_curves({"run": tmp_path / "nothing.json"})
