"""Statistics and pictures of a comparison: paired tests, labels needed, the table; worked out by hand."""

import math

import numpy as np
import pytest

from vdt3d.evaluation.comparison import (
    comparison_table,
    labels_needed,
    markdown,
    paired_test,
    percent,
    probabilities,
)
from vdt3d.visualization.comparison import saving_curves, score_curves

NAMES = [f"case {number}" for number in range(5)]


def scored(*values: float | None) -> dict[str, list]:
    """What a segmentation run says of each case."""
    return {"name": NAMES[: len(values)], "score": list(values)}


def said(*positive: float) -> dict[str, list]:
    """What a run says of four cases, the last two of which are positive."""
    return {"name": NAMES[:4], "truth": [0, 0, 1, 1], "p1": list(positive)}


def test_all_cases_better_is_as_far_as_five_cases_can_tell():
    ours, theirs = [scored(0.51, 0.62, 0.73, 0.84, 0.95)] * 2, [scored(0.5, 0.6, 0.7, 0.8, 0.9)] * 2
    paired = paired_test(ours, theirs, "dice")
    assert paired.difference == pytest.approx(0.03)  # of 0.01, 0.02, ..., 0.05
    assert math.isnan(paired_test(ours[:1], theirs, "dice").p)  # one seed shows nothing of the chance in training
    assert paired.p == pytest.approx(2 / 2**5)  # all of five signs alike: one way out of 32, on either side
    assert 0.01 < paired.low < 0.03 < paired.high < 0.05


def test_the_interval_is_that_of_the_mean_of_resampled_cases():
    # Differences 0, 0, 1 and 1: one of 16 draws of four has 0 alone, one has 1 alone, so both ends are reached.
    paired = paired_test([scored(0.5, 0.5, 1.0, 1.0)], [scored(0.5, 0.5, 0.0, 0.0)], "dice")
    assert (paired.difference, paired.low, paired.high) == (0.5, 0, 1)
    # The differences of five cases have the deviation 0.0141; that of their mean is a root of five less, 0.0063.
    paired = paired_test([scored(0.51, 0.62, 0.73, 0.84, 0.95)], [scored(0.5, 0.6, 0.7, 0.8, 0.9)], "dice")
    assert paired.high - paired.low == pytest.approx(2 * 1.96 * 0.0063, rel=0.1)


def test_seeds_are_averaged_case_by_case_before_cases_are_compared():
    ours = [scored(0.4, 0.8, 0.3), scored(0.6, 0.8, 0.5)]
    theirs = [scored(0.5, 0.7, 0.4), scored(0.5, 0.9, 0.4)]
    paired = paired_test(ours, theirs, "dice")
    assert paired[:3] == pytest.approx((0, 0, 0), abs=1e-12)


def test_equal_arms_differ_by_nothing():
    arm = [scored(0.5, 0.6, 0.7)] * 2
    assert paired_test(arm, arm, "dice") == (0, 0, 0, 1)


def test_patients_are_resampled_and_tested_as_one():
    # Two patients gain 0.2 in one case and lose it in another; a third gains 0.1 twice: the patients' means are 0, 0
    # and 0.1, of which one sign is known, so p is 1; resamples of patients reach from 0 to 0.1.
    names = [f"scan {number}" for number in range(6)]
    patients = {"name": names, "group": ["a", "b", "c", "a", "b", "c"]}
    ours = patients | {"score": [0.7, 0.7, 0.6, 0.3, 0.3, 0.6]}
    theirs = patients | {"score": [0.5] * 6}
    paired = paired_test([ours] * 2, [theirs] * 2, "dice")
    assert paired == pytest.approx((0.1 / 3, 0, 0.1, 1), abs=1e-9)
    # The same rows as scans of their own scatter from -0.2 to 0.2.
    alone = [{key: arm[key] for key in ("name", "score")} for arm in (ours, theirs)]
    assert paired_test(alone[:1], alone[1:], "dice").low < -0.05


def test_areas_are_compared_over_patients():
    # Each of three patients has a positive and a negative scan, ranked right by one arm and wrong by the other.
    truth = {"name": list("abcdef"), "truth": [0, 1] * 3, "group": [1, 1, 2, 2, 3, 3]}
    right, wrong = truth | {"p1": [0.1, 0.9] * 3}, truth | {"p1": [0.9, 0.1] * 3}
    assert paired_test([right], [wrong], "auc")[:3] == (1, 1, 1)
    one_patient = [arm | {"group": [1] * 6} for arm in (right, wrong)]
    paired = paired_test(one_patient[:1], one_patient[1:], "auc")
    assert paired.difference == 1 and math.isnan(paired.low)


def test_a_case_without_score_is_left_out():
    paired = paired_test([scored(0.6, None, 0.8, 0.4)], [scored(0.5, 0.9, 0.7, 0.3)], "dice")
    assert paired[:3] == pytest.approx((0.1, 0.1, 0.1))
    assert all(map(math.isnan, paired_test([scored(None)], [scored(0.5)], "dice")))


def test_areas_under_the_curve_are_compared_on_the_same_resampled_cases():
    # One arm ranks every pair right (area 1), the other every pair wrong (0): so in every resample with both classes.
    paired = paired_test([said(0.1, 0.2, 0.8, 0.9)], [said(0.9, 0.8, 0.2, 0.1)], "auc")
    assert paired[:3] == (1, 1, 1)
    assert math.isnan(paired.p)
    # Equal arms differ by nothing in any resample, however much their areas vary (here 3 of 4 pairs are right).
    assert paired_test([said(0.1, 0.6, 0.5, 0.9)], [said(0.1, 0.6, 0.5, 0.9)], "auc")[:3] == (0, 0, 0)
    # The mean over seeds: areas 1 and 0.75 against 0.75.
    two = [said(0.1, 0.2, 0.8, 0.9), said(0.1, 0.6, 0.5, 0.9)]
    assert paired_test(two, two[1:], "auc").difference == pytest.approx(0.125)


def test_probabilities_of_two_classes_and_of_more():
    np.testing.assert_allclose(probabilities({"name": ["a"], "truth": [1], "p1": [0.25]}), [[0.75, 0.25]])
    three = {"name": ["a"], "truth": [1], "p0": [0.5], "p1": [0.3], "p2": [0.2]}
    np.testing.assert_allclose(probabilities(three), [[0.5, 0.3, 0.2]])


@pytest.mark.parametrize("other", [scored(0.5), {"name": NAMES[1:3], "score": [0.5, 0.6]}])
def test_runs_on_other_cases_cannot_be_paired(other: dict):
    with pytest.raises(ValueError, match="tested on different cases"):
        paired_test([scored(0.5, 0.6)], [other], "dice")


@pytest.mark.parametrize(
    ("scores", "needed"),
    [
        ([0.7, 0.8, 0.9], 0.1),  # reached there
        ([0.7, 0.75, 0.85], 10**-0.5),  # half-way from 0.75 to 0.85, so half-way from log 0.1 to log 1
        ([0.82, 0.7, 0.9], 0.01),  # the smallest share suffices
        ([0.1, 0.2, 0.3], math.nan),
    ],
)
def test_labels_needed_lie_on_lines_over_the_log_of_shares(scores: list[float], needed: float):
    assert labels_needed([0.01, 0.1, 1.0], scores, 0.8) == pytest.approx(needed, nan_ok=True)
    assert labels_needed([1.0, 0.01, 0.1], [scores[n] for n in (2, 0, 1)], 0.8) == pytest.approx(needed, nan_ok=True)


def result(arm: str, share: float, seed: int, mean: float, spread: float) -> dict:
    """A run whose five test cases lie ``spread`` apart around ``mean``."""
    return dict(
        arm=arm,
        fraction=share,
        seed=seed,
        labels=round(150 * share),
        score="dice",
        steps=100,
        seconds_per_step=0.25,
        parameters=2_000_000,
        validation=[(50, 0.5 + 0.01 * seed), (100, mean)],
        test={"dice": mean},
        cases=scored(*[mean + spread * step for step in (-2, -1, 0, 1, 2)]),
    )


def results() -> list[dict]:
    """Two seeds, 0.02 apart, of two arms at two shares; on the five cases 'vdt' is better by 0.1 or 0.05 and by
    -0.01, -0.005, 0, 0.005, 0.01 more.
    """
    means = {("scratch", 0.1): 0.7, ("scratch", 1.0): 0.8, ("vdt", 0.1): 0.8, ("vdt", 1.0): 0.85}
    return [
        result(arm, share, seed, mean + 0.02 * seed, spread=0.015 if arm == "vdt" else 0.01)
        for (arm, share), mean in means.items()
        for seed in (0, 1)
    ]


def test_the_table_of_a_comparison():
    table = comparison_table(results(), "dice").set_index(["arm", "fraction"])
    assert table["mean"].tolist() == pytest.approx([0.71, 0.81, 0.81, 0.86])
    assert table.sd.tolist() == pytest.approx([0.02 / math.sqrt(2)] * 4)  # of two values 0.02 apart
    assert table.difference.tolist() == pytest.approx([math.nan, math.nan, 0.1, 0.05], nan_ok=True)
    assert table.p[("vdt", 0.1)] == pytest.approx(2 / 2**5)
    assert 0.09 < table.low[("vdt", 0.1)] < 0.1 < table.high[("vdt", 0.1)] < 0.11
    # vdt has at 10 % the 0.81 that scratch has at 100 %.
    assert table.needed.tolist() == pytest.approx([1.0, 1.0, 0.1, 0.1])
    assert table.labels.tolist() == [15, 150, 15, 150]
    assert table.runs.tolist() == [2] * 4


def test_the_seeds_that_both_arms_have_are_paired():
    some = [result for result in results() if (result["arm"], result["seed"]) != ("scratch", 1)]
    table = comparison_table(some, "dice").set_index(["arm", "fraction"])
    assert table.runs[("vdt", 1.0)] == 2
    assert table.difference[("vdt", 1.0)] == pytest.approx(0.05)  # seed 0 against seed 0
    assert math.isnan(table.sd[("scratch", 1.0)])


def test_the_table_as_text():
    text = markdown(comparison_table(results(), "dice"), "dice")
    assert "| scratch | 10 % (15) | 2 | 0.7100 ± 0.0141 |  |  |" in text
    assert "| vdt | 100 % (150) | 2 | 0.8600 ± 0.0141 | +0.0500 (+0.04" in text
    assert " to +0.05" in text and ") | 0.062 |" in text
    assert "| scratch | 100 % | 2.00 M | 0.250 | 100 |" in text
    assert "| vdt | 10 % or fewer | 2.00 M | 0.250 | 100 |" in text


def test_an_arm_that_does_not_get_there_and_a_comparison_without_scratch():
    worse = [r | {"arm": "acs", "test": {"dice": r["test"]["dice"] - 0.2}} for r in results() if r["arm"] == "vdt"]
    assert "| acs | not reached |" in markdown(comparison_table([*results(), *worse], "dice"), "dice")
    alone = comparison_table(worse, "dice")
    assert alone[["difference", "needed"]].isna().all(axis=None)
    assert "| acs |  | 2.00 M |" in markdown(alone, "dice")


def test_test_cases_that_chose_the_checkpoints_are_named():
    shared = [one | {"test": one["test"] | {"validation_cases": 5}} for one in results()]
    text = markdown(comparison_table(shared, "dice"), "dice")
    assert "5 test cases chose the checkpoints" in text and "validation cases" not in markdown(
        comparison_table(results(), "dice"), "dice"
    )
    one_seed = [result for result in results() if result["seed"] == 0]
    assert "no p-value from a single seed" in markdown(comparison_table(one_seed, "dice"), "dice")


def test_no_results_no_table():
    with pytest.raises(ValueError, match="no results"):
        comparison_table([], "dice")


@pytest.mark.parametrize(("share", "text"), [(0.1, "10 %"), (0.025, "2.5 %"), (1.0, "100 %"), (0.31623, "31.6 %")])
def test_shares_as_people_say_them(share: float, text: str):
    assert percent(share) == text


# ---- pictures --------------------------------------------------------------------------------------------------------


def lines(axes, label: str) -> np.ndarray:
    """(n, 2) the points of a line."""
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return line.get_xydata()


def test_curves_are_means_over_seeds_with_a_band():
    figure = score_curves(results(), "dice")
    few, many = figure.axes
    assert (few.get_title(), many.get_title()) == ("10 % of the labels", "100 % of the labels")
    # At step 50 the seeds have 0.50 and 0.51, at step 100 the test's 0.70 and 0.72.
    np.testing.assert_allclose(lines(few, "scratch"), [[50, 0.505], [100, 0.71]])
    band = few.collections[0].get_datalim(few.transData)
    assert (band.y0, band.y1) == pytest.approx((0.50, 0.72))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["scratch", "vdt"]


def test_the_saving_is_read_off_a_level():
    figure = saving_curves(results(), "dice")
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    np.testing.assert_allclose(lines(axes, "vdt"), [[0.1, 0.81], [1.0, 0.86]])
    np.testing.assert_allclose(lines(axes, "scratch, all labels")[:, 1], 0.81)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["10 %", "100 %"]
    assert len(figure.legends[0].get_texts()) == 3


def test_nine_arms_are_told_apart():
    arms = ("scratch", "i3d", "centre", "acs", "2.5d", "kinetics", "medicalnet", "genesis", "vdt")
    figure = saving_curves([r | {"arm": arm} for arm in arms for r in results()[:4]], "dice")
    drawn = [line for line in figure.axes[0].lines if line.get_label() in arms]
    looks = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in drawn}
    assert len(looks) == len(drawn) == len(arms)


@pytest.mark.parametrize("draw", [score_curves, saving_curves])
def test_nothing_to_draw(draw):
    with pytest.raises(ValueError, match="no results"):
        draw([], "dice")
