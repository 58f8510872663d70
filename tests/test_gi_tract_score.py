"""The score of the GI tract challenge: one case and two cases by hand, absence, overlapping organs, files."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from mmengine.evaluator import Evaluator
from scipy.spatial.distance import directed_hausdorff

from medseg.evaluation import GITractScore
from vdt3d.evaluation import hausdorff_distance, surface_scores
from vdt3d.registry import METRICS
from vdt3d.structures import LabelMap, SegmentationSample, affine_from_spacing, overlapping_classes, overlapping_regions

ORGANS = ("large bowel", "stomach")
SHAPE = (2, 3, 6)  # its diagonal is sqrt(4 + 9 + 36) = 7


def labelled(*places: tuple[int, tuple], shape: tuple[int, ...] = SHAPE) -> LabelMap:
    array = np.zeros(shape, np.uint8)
    for bit, place in places:
        array[place] |= bit
    return LabelMap(array[None], affine_from_spacing((3.0, 1.5, 1.5)))


def sample(name: str, guess: LabelMap, truth: LabelMap) -> SegmentationSample:
    made = SegmentationSample(metainfo={"sample_name": name, "reference": truth})
    made.pred_labels = guess
    return made


def first() -> SegmentationSample:
    """Of the large bowel (1) one voxel too many; the stomach (2) missed in one slice, too large in the other."""
    truth = labelled((1, np.s_[0, 0, 1:3]), (2, np.s_[0, 0, 2]), (2, np.s_[1, 2, 4]))  # (0, 0, 2) bears both
    guess = labelled((1, np.s_[0, 0, 1:4]), (2, np.s_[1, 2, 4:6]))
    return sample("case1_day1", guess, truth)


def second() -> SegmentationSample:
    """The large bowel in both slices, all right; no stomach anywhere."""
    both = labelled((1, np.s_[:, 1, 2:4]))
    return sample("case1_day2", both, both)


def metric(kind: str = "GITractScore", **options):
    made = METRICS.build({"type": kind, **options})
    made.dataset_meta = {"classes": overlapping_classes(ORGANS), "regions": overlapping_regions(ORGANS)}
    return made


def evaluate(samples: list[SegmentationSample], **options) -> dict[str, float]:
    evaluator = Evaluator([metric(**options)])
    evaluator.process(samples)
    return evaluator.evaluate(len(samples))


# Large bowel: Dice 2 x 2 / (3 + 2) in the first slice, in neither map in the second; its farthest voxel is 1 away.
# Stomach: Dice 0 / (0 + 1) and 2 x 1 / (2 + 1); from (0, 0, 2) to (1, 2, 4) it is sqrt(1 + 4 + 4) = 3 voxels.
DICE = {"large bowel": [4 / 5], "stomach": [0, 2 / 3]}
HAUSDORFF = {"large bowel": 1 - 1 / 7, "stomach": 1 - 3 / 7}


def test_a_case_by_hand():
    dice, hausdorff = (4 / 5 + 0 + 2 / 3) / 3, (6 / 7 + 4 / 7) / 2
    expected = {"score": 0.4 * dice + 0.6 * hausdorff, "dice_slices": dice, "hausdorff_score": hausdorff}
    for organ, name in (("large bowel", "large_bowel"), ("stomach", "stomach")):
        mean = sum(DICE[organ]) / len(DICE[organ])
        expected |= {f"dice_slices_{name}": mean, f"hausdorff_score_{name}": HAUSDORFF[organ]}
        expected[f"score_{name}"] = 0.4 * mean + 0.6 * HAUSDORFF[organ]
    assert evaluate([first()]) == pytest.approx(expected)


def test_as_published_an_organ_in_neither_map_counts_0():
    found = evaluate([first()], empty="published")
    assert found["dice_slices"] == pytest.approx((4 / 5 + 0 + 0 + 2 / 3) / 4)
    assert found["dice_slices_large_bowel"] == pytest.approx(2 / 5)
    assert found["hausdorff_score"] == pytest.approx(5 / 7)


def test_slices_of_all_cases_count_alike():
    found = evaluate([second(), first()])
    assert found["dice_slices"] == pytest.approx((4 / 5 + 0 + 2 / 3 + 1 + 1) / 5)
    assert found["dice_slices_large_bowel"] == pytest.approx((4 / 5 + 1 + 1) / 3)
    assert found["hausdorff_score"] == pytest.approx((6 / 7 + 4 / 7 + 1 + 1) / 4)  # equal masks, and two empty ones
    assert found["hausdorff_score_stomach"] == pytest.approx((4 / 7 + 1) / 2)


def test_only_one_mask_is_empty():
    one, none = labelled((1, np.s_[0, 0, 0])), labelled()
    for guess, truth in ((one, none), (none, one)):
        found = evaluate([sample("a", guess, truth)])
        assert (found["dice_slices_large_bowel"], found["hausdorff_score_large_bowel"]) == (0, 0)


def test_without_any_organ_there_is_no_dice():
    found = evaluate([sample("a", labelled(), labelled())])
    assert math.isnan(found["dice_slices"]) and math.isnan(found["score"]) and found["hausdorff_score"] == 1


def test_what_nobody_knows_is_left_out():
    truth = labelled((1, np.s_[0, 0, 1:3]), (255, np.s_[0, 0, 3:]))
    guess = labelled((1, np.s_[0, 0, 1:5]))
    found = evaluate([sample("a", guess, truth)])
    assert (found["dice_slices_large_bowel"], found["hausdorff_score_large_bowel"]) == (1, 1)


def test_files_and_the_table_have_a_row_per_case(tmp_path):
    made = metric(out=str(tmp_path / "scores.json"))
    evaluator = Evaluator([made])
    evaluator.process([second(), first()])
    scores = evaluator.evaluate(2)
    row = {
        "dice_slices_large bowel": 4 / 5,
        "dice_slices_stomach": 1 / 3,
        "hausdorff_score_large bowel": 6 / 7,
        "hausdorff_score_stomach": 4 / 7,
        "slices_large bowel": 1,
        "slices_stomach": 2,
    }
    for table in (made.table, pd.read_csv(tmp_path / "scores.csv")):
        assert table["case"].tolist() == ["case1_day1", "case1_day2"]
        assert table.drop(columns="case").iloc[0].to_dict() == pytest.approx(row)
        assert math.isnan(table["dice_slices_stomach"][1]) and table["slices_stomach"][1] == 0
    saved = json.loads((tmp_path / "scores.json").read_text(), parse_constant=pytest.fail)
    assert (saved["empty"], saved["summary"]) == ("nan", pytest.approx(scores))


def test_all_scores_ask_for_the_regions_where_classes_overlap():
    found = evaluate([first()], kind="SegmentationScores", surface=False)
    # Stomach of the whole case: one voxel in both maps, one only in each.
    assert (found["dice_large_bowel"], found["dice_stomach"]) == pytest.approx((4 / 5, 2 / 4))
    assert "dice_large_bowel+stomach" not in found


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(ValueError, match=r"empty='zero': .* left out .'nan'. or 0"):
        GITractScore(empty="zero")
    with pytest.raises(ValueError, match=r"case 'a': the prediction, \(2, 3, 5\) voxels"):
        evaluate([sample("a", labelled(shape=(2, 3, 5)), labelled())])
    with pytest.raises(ValueError, match="give GITractScore labels"):
        GITractScore().process(None, [first().to_dict()])


# ---- the distance ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_the_distance_is_that_of_scipy(seed):
    rng = np.random.default_rng(seed)
    masks = [rng.random((5, 7, 6)) < share for share in rng.choice((0.01, 0.1, 0.5, 0.9), 2)]
    masks = [mask if mask.any() else np.ones_like(mask) for mask in masks]
    spacing = (1, 1, 1) if seed % 2 else (3.0, 0.5, 2.0)
    one, other = (np.argwhere(mask) * spacing for mask in masks)
    expected = max(directed_hausdorff(one, other)[0], directed_hausdorff(other, one)[0])
    assert hausdorff_distance(*masks, spacing) == pytest.approx(expected)


def test_the_distance_asks_for_the_inside_too():
    ball, shell = np.ones((2, 5, 5, 5), bool)
    shell[1:4, 1:4, 1:4] = False
    assert hausdorff_distance(ball, shell, (1, 1, 1)) == hausdorff_distance(shell, ball, (1, 1, 1)) == 2  # the middle
    assert surface_scores(ball, shell, (1, 1, 1))["mssd"] == 0


def test_the_distance_of_empty_masks():
    empty, voxel = np.zeros((2, 3, 3, 3), bool)
    voxel[1, 1, 1] = True
    assert math.isnan(hausdorff_distance(empty, empty, (1, 1, 1)))
    assert hausdorff_distance(empty, voxel, (1, 1, 1)) == hausdorff_distance(voxel, empty, (1, 1, 1)) == math.inf
    assert hausdorff_distance(voxel, voxel, (1, 1, 1)) == 0
