"""Scores of segmented cases: labels, regions, ignored voxels, means, intervals, files; worked out by hand."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from mmengine.evaluator import Evaluator

from medseg.evaluation import SegmentationScores, case_scores, save_report, summary
from vdt3d.evaluation import DEFINITIONS, surface_scores
from vdt3d.io import LazyArray, read_case, write_case
from vdt3d.registry import METRICS
from vdt3d.structures import LabelMap, Sample, SegmentationSample, affine_from_spacing

SPACING = (2.0, 1.0, 1.0)


def label_map(array: np.ndarray, spacing: tuple[float, float, float] = SPACING) -> LabelMap:
    return LabelMap(array[None], affine_from_spacing(spacing))


def maps(seed: int = 0, shape: tuple[int, ...] = (7, 9, 8)) -> tuple[np.ndarray, np.ndarray]:
    """Labels 0 to 3 in blocks of 2 x 3 x 2 voxels, different in a tenth of them; 255 in a corner of the truth."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(4, size=[-(-n // step) for n, step in zip(shape, (2, 3, 2), strict=True)])
    truth = np.kron(blocks, np.ones((2, 3, 2), int))[: shape[0], : shape[1], : shape[2]].astype(np.uint8)
    guess = np.where(rng.random(shape) < 0.1, rng.integers(4, size=shape), truth).astype(np.uint8)
    truth[:2, :2, :3] = 255
    return guess, truth


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_a_case_scores_as_the_masks_of_its_whole_volume_do(definition):
    guess, truth = maps()
    labels = {"one": 1, "two": 2, "both": [1, 2], "background": 0, "none": 9}
    found = case_scores(label_map(guess), label_map(truth), labels, definition=definition, tolerance=1.5)
    valid = truth != 255
    for name, region in labels.items():
        masks = [np.isin(array, region) & valid for array in (guess, truth)]
        expected = surface_scores(*masks, SPACING, definition=definition, tolerance=1.5)
        overlap = {"both": (masks[0] & masks[1]).sum(), "only_guess": (masks[0] & ~masks[1]).sum()}
        assert {score: found[name][score] for score in [*expected, *overlap]} == pytest.approx(
            expected | overlap, nan_ok=True
        )


def test_a_case_by_hand():
    # Four of eight voxels in a row agree; the distances are tested with the surfaces.
    guess, truth = np.zeros((2, 1, 1, 8), np.int64)
    guess[..., :6], truth[..., 2:] = 1, 1
    found = case_scores(label_map(guess), label_map(truth), {"organ": 1}, surface=False)
    counts = {"both": 4, "only_guess": 2, "only_truth": 2}
    assert found == {"organ": counts | {"dice": 8 / 12, "iou": 4 / 8, "volume_difference": 0}}


def test_maps_of_booleans_are_scored():
    found = case_scores(label_map(np.ones((2, 2, 2), bool)), label_map(np.ones((2, 2, 2), bool)), {"organ": 1})
    assert (found["organ"]["dice"], found["organ"]["hd95"]) == (1, 0)


def test_a_reference_that_waits_in_a_cache(tmp_path):
    guess, truth = maps()
    write_case(tmp_path, "case", Sample(label_map(guess), label_map(truth)), extra={})
    cached = read_case(tmp_path, "case").label_map
    assert isinstance(cached.array, LazyArray)
    labels = {"one": 1, "two": 2}
    assert case_scores(label_map(guess), cached, labels) == case_scores(label_map(guess), label_map(truth), labels)


def test_a_voxel_at_the_last_slice():
    guess, truth = np.zeros((2, 5, 4, 4), np.uint8)
    guess[4, 3, 3], truth[3, 3, 3] = 1, 1
    assert case_scores(label_map(guess), label_map(truth), {"lesion": 1})["lesion"]["hd95"] == 2  # one slice of 2 mm


@pytest.mark.parametrize(
    ("guess", "message"),
    [
        (label_map(np.zeros((2, 3, 5), int)), r"\(2, 3, 5\) voxels .* on the grid of its reference, \(2, 3, 4\)"),
        (label_map(np.zeros((2, 3, 4), int), (1, 1, 1)), r"of \(1.0, 1.0, 1.0\) mm .* of \(2.0, 1.0, 1.0\) mm"),
        (LabelMap(np.zeros((2, 2, 3, 4), int)), "the prediction holds 2 channels"),
    ],
)
def test_maps_of_different_grids_are_refused(guess, message):
    with pytest.raises(ValueError, match=message):
        case_scores(guess, label_map(np.zeros((2, 3, 4), int)), {"organ": 1})


def counts_and_scores(both: int, only_guess: int, only_truth: int, hd95: float) -> dict[str, float]:
    size = 2 * both + only_guess + only_truth
    dice = 2 * both / size if size else math.nan
    return {"both": both, "only_guess": only_guess, "only_truth": only_truth, "dice": dice, "hd95": hd95}


CASES = {
    "a": {"liver": counts_and_scores(3, 1, 1, 2.0), "tumour": counts_and_scores(0, 0, 0, math.nan)},
    "b": {"liver": counts_and_scores(1, 2, 0, 4.0), "tumour": counts_and_scores(1, 0, 0, 1.0)},
    "c": {"liver": counts_and_scores(4, 0, 0, 0.0), "tumour": counts_and_scores(0, 0, 2, math.inf)},
}


def test_means_by_hand():
    # Liver: Dice 6/8, 2/4, 8/8. Tumour: nan, 1, 0. Each case's mean: .75, .75, .5.
    found = summary(CASES, resamples=0)
    liver, tumour, mean = found["labels"]["liver"], found["labels"]["tumour"], found["mean"]
    assert liver["dice"] == {"mean": 0.75, "counted": 3, "absent": 0, "infinite": 0}
    assert tumour["dice"] == {"mean": 0.5, "counted": 2, "absent": 1, "infinite": 0}
    assert mean["dice"] == {"mean": pytest.approx(2 / 3), "counted": 5, "absent": 1, "infinite": 0}
    assert liver["dice_pooled"] == 16 / 20  # 8 voxels in both maps, 3 only in the guess, 1 only in the truth
    assert liver["iou_pooled"] == 8 / 12
    assert tumour["dice_pooled"] == 2 / 4
    assert mean["dice_pooled"] == pytest.approx((16 / 20 + 2 / 4) / 2)
    # Distances: the infinite one is left out and told. Each case's mean: 2, (4 + 1) / 2, 0.
    assert tumour["hd95"] == {"mean": 1, "counted": 1, "absent": 1, "infinite": 1}
    assert mean["hd95"] == {"mean": 1.5, "counted": 4, "absent": 1, "infinite": 1}


def test_the_order_of_the_cases_changes_nothing():
    backwards = dict(reversed(CASES.items()))
    assert summary(backwards, resamples=20) == summary(CASES, resamples=20)
    assert summary(CASES, resamples=20, seed=1) != summary(CASES, resamples=20)


def test_intervals_resample_cases_or_patients():
    cases = {f"case{n}": {"organ": counts_and_scores(*((1, 0, 0) if n % 4 else (0, 1, 1)), 1.0)} for n in range(100)}
    # Three quarters of the Dice values are 1, the others 0: standard error sqrt(.75 x .25 / 100) = .0433.
    dice = summary(cases)["labels"]["organ"]["dice"]
    assert dice["mean"] == 0.75
    assert (dice["low"], dice["high"]) == pytest.approx((0.75 - 1.96 * 0.0433, 0.75 + 1.96 * 0.0433), abs=0.012)
    patients = {
        name: f"patient {number // 4}" for number, name in enumerate(cases)
    }  # of each one case in four is wrong
    together = summary(cases, groups=patients)["labels"]["organ"]["dice"]
    assert (together["low"], together["high"]) == (0.75, 0.75)
    alone = summary(cases, groups=dict.fromkeys(cases, "one patient"))["mean"]["dice"]
    assert alone["mean"] == 0.75 and math.isnan(alone["low"]) and math.isnan(alone["high"])


def test_each_label_has_a_tolerance_of_its_own():
    guess, truth = np.zeros((2, 1, 5, 9, 9), np.uint8)
    guess[0, 2, 2, 2] = truth[0, 2, 2, 3] = 1  # 1 mm apart
    guess[0, 2, 6, 2] = truth[0, 2, 6, 4] = 2  # 2 mm apart
    maps, labels = (LabelMap(guess), LabelMap(truth)), {"near": 1, "far": 2}
    scores = case_scores(*maps, labels, tolerance={"far": 2.0, "near": 0.5})
    assert (scores["near"]["nsd"], scores["far"]["nsd"]) == (0, 1)
    assert [case_scores(*maps, labels, tolerance=1.0)[name]["nsd"] for name in labels] == [1, 0]
    with pytest.raises(ValueError, match="'near'"):
        case_scores(*maps, labels, tolerance={"far": 2.0})


def test_no_cases_is_an_error():
    with pytest.raises(ValueError, match="no cases"):
        summary({})


def test_files_hold_null_for_what_is_no_number(tmp_path):
    report = {"definition": "monai", "cases": CASES, "summary": summary(CASES, resamples=0)}
    save_report(tmp_path / "new" / "scores.json", report)
    save_report(tmp_path / "new" / "scores.csv", report)
    text = (tmp_path / "new" / "scores.json").read_text()
    saved = json.loads(text, parse_constant=pytest.fail)  # called for NaN and Infinity, which are not JSON
    assert saved["cases"]["a"]["tumour"] == counts_and_scores(0, 0, 0, 0) | {"dice": None, "hd95": None}
    assert saved["cases"]["c"]["tumour"]["hd95"] is None
    assert saved["summary"]["mean"]["dice"]["mean"] == pytest.approx(2 / 3)
    table = pd.read_csv(tmp_path / "new" / "scores.csv", index_col="case")
    assert table.loc["b", "dice_liver"] == 0.5
    assert table.loc["c", "hd95_tumour"] == math.inf
    assert math.isnan(table.loc["a", "hd95_tumour"])
    with pytest.raises(ValueError, match=r"ends in .json or .csv, not in '.txt'"):
        save_report(tmp_path / "scores.txt", report)


def sample(name: str, seed: int, **changes) -> SegmentationSample:
    guess, truth = maps(seed)
    metainfo = {"sample_name": name, "group": "", "reference": label_map(truth)} | changes
    found = SegmentationSample(metainfo=metainfo)
    found.pred_labels = label_map(guess)
    return found


def evaluate(samples: list[SegmentationSample], **options) -> dict[str, float]:
    metric = METRICS.build({"type": "SegmentationScores", **options})
    metric.dataset_meta = {"classes": ("background", "kidney", "left lung", "right lung")}
    evaluator = Evaluator([metric])
    evaluator.process(samples)
    return evaluator.evaluate(len(samples))


def test_the_metric_tells_what_the_summary_does(tmp_path):
    samples = [sample(f"case{n}", n) for n in range(3)]
    found = evaluate(samples, resamples=20, out=str(tmp_path / "scores.json"))
    labels = {"kidney": 1, "left lung": 2, "right lung": 3}
    cases = {each.sample_name: case_scores(each.pred_labels, each.reference, labels) for each in samples}
    expected = summary(cases, resamples=20)
    for score in ("dice", "iou", "volume_difference", "hd95", "assd", "mssd", "nsd"):
        assert [found[score], found[f"{score}_low"], found[f"{score}_high"]] == [
            expected["mean"][score][end] for end in ("mean", "low", "high")
        ]
    assert found["dice_pooled"] == expected["mean"]["dice_pooled"]
    assert found["dice_left_lung"] == expected["labels"]["left lung"]["dice"]["mean"]
    assert found["infinite_distances"] == 0
    saved = json.loads((tmp_path / "scores.json").read_text())
    assert saved["cases"]["case1"]["kidney"]["dice"] == cases["case1"]["kidney"]["dice"]
    assert saved["definition"] == "monai"
    assert pd.read_csv(tmp_path / "scores.csv")["case"].tolist() == ["case0", "case1", "case2"]


def test_without_distances_the_metric_tells_overlap_alone():
    found = evaluate([sample("a", 0)], labels={"lungs": [2, 3]}, surface=False)
    assert set(found) == {"dice", "iou", "volume_difference", "dice_pooled", "iou_pooled", "dice_lungs"}
    assert found["dice"] == found["dice_pooled"] == found["dice_lungs"]  # one case, one region


def test_a_dice_of_means_and_a_dice_of_all_voxels():
    # Two voxels of two are found in one case, none of six in the other: mean (1 + 0) / 2, pooled 2 x 2 / (2 + 8).
    truths, guesses = np.zeros((2, 2, 1, 2, 4), np.uint8)
    truths[0, 0, 0, :2], guesses[0, 0, 0, :2], truths[1, 0, :, :3] = 1, 1, 1
    samples = []
    for number, (guess, truth) in enumerate(zip(guesses, truths, strict=True)):
        samples.append(sample(str(number), 0, reference=label_map(truth)))
        samples[-1].pred_labels = label_map(guess)
    found = evaluate(samples, labels={"organ": 1})
    assert (found["dice"], found["dice_pooled"]) == (0.5, 4 / 10)


def test_the_number_of_processes_changes_nothing():
    samples = [sample(f"case{n}", n, group=f"patient{n % 3}") for n in range(5)]
    whole, first, second = (SegmentationScores(labels={"organ": 1}, resamples=20) for _ in range(3))
    whole.process(None, [each.to_dict() for each in samples])
    first.process(None, [each.to_dict() for each in samples[::2]])
    second.process(None, [each.to_dict() for each in samples[1::2]])
    gathered = [*second.results, *first.results]
    assert first.compute_metrics(gathered) == whole.compute_metrics(whole.results)
    assert not any(isinstance(part, np.ndarray | LabelMap) for result in gathered for part in result)


def test_the_metric_names_the_case_that_cannot_be_scored():
    with pytest.raises(ValueError, match="case 'a' has no reference"):
        evaluate([sample("a", 0, reference=None)])
    other = label_map(np.zeros((7, 9, 9), int))
    with pytest.raises(ValueError, match=r"case 'b': the prediction, \(7, 9, 8\) voxels"):
        evaluate([sample("a", 0), sample("b", 0, reference=other)])
    with pytest.raises(ValueError, match="2 cases have only 1 names"):
        evaluate([sample("a", 0), sample("a", 1)])
    with pytest.raises(ValueError, match=r"tells no classes beside the background .*give SegmentationScores labels"):
        SegmentationScores().process(None, [sample("a", 0).to_dict()])
    with pytest.raises(ValueError, match=r"ends in .json or .csv"):
        SegmentationScores(out="scores.txt")
