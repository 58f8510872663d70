"""Scores of classifiers against values worked out by hand, and against scikit-learn."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from vdt3d.evaluation import ClassificationScores, classification_scores, score_report, youden_threshold
from vdt3d.evaluation.classification import area_under_roc, bootstrap_weights
from vdt3d.registry import METRICS


def two_columns(positive) -> np.ndarray:
    return np.stack([1 - np.array(positive), np.array(positive)], axis=1)


def score(positive, truth, **options) -> dict[str, float]:
    return {
        name: value.item() for name, value in classification_scores(two_columns(positive), truth, **options).items()
    }


# Positives .8 and .4, negatives .4 and .1: of four pairs .8 wins two, .4 wins one and ties one.
SCORES, TRUTH = [0.8, 0.4, 0.4, 0.1], [1, 1, 0, 0]


def test_auc_counts_a_tie_as_half():
    assert score(SCORES, TRUTH)["auc"] == 3.5 / 4


def test_scores_of_a_decision_by_hand():
    found = score(SCORES, TRUTH)  # only .8 is above .5
    assert [found[name] for name in ("tp", "fp", "tn", "fn")] == [1, 0, 2, 1]
    assert (found["accuracy"], found["sensitivity"], found["specificity"]) == (3 / 4, 1 / 2, 1)
    assert (found["precision"], found["f1"], found["balanced_accuracy"]) == (1, 2 / 3, 3 / 4)
    assert found["log_loss"] == pytest.approx(-(math.log(0.8) + math.log(0.4) + math.log(0.6) + math.log(0.9)) / 4)


@pytest.mark.parametrize(("threshold", "positives"), [(0.05, 4), (0.1, 3), (0.4, 1), (0.8, 0)])
def test_a_case_is_positive_above_the_threshold_not_at_it(threshold, positives):
    found = score(SCORES, TRUTH, threshold=threshold)
    assert found["tp"] + found["fp"] == positives


def test_precision_is_nan_where_nothing_is_called_positive():
    found = score(SCORES, TRUTH, threshold=0.9)
    assert math.isnan(found["precision"]) and found["f1"] == 0


def test_what_an_absent_class_leaves_undefined_is_nan():
    found = score([0.8, 0.4], [0, 0])
    assert {name for name, value in found.items() if math.isnan(value)} == {"auc", "sensitivity", "balanced_accuracy"}
    assert found["specificity"] == found["accuracy"] == 0.5


def test_several_classes_by_hand():
    # Against the rest, class 0: .6 over .3 and .5, 1; class 1: .5 over .3 and .3, 1; class 2: .2 over .1, ties .2, .75.
    probabilities = [[0.6, 0.3, 0.1], [0.3, 0.5, 0.2], [0.5, 0.3, 0.2]]
    found = classification_scores(np.array(probabilities), np.array([0, 1, 2]))
    assert found["auc"].item() == pytest.approx((1 + 1 + 0.75) / 3)
    assert found["accuracy"].item() == found["balanced_accuracy"].item() == pytest.approx(2 / 3)
    assert "sensitivity" not in found


def test_weighted_area_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    scores, truth = rng.random(60).round(1), rng.random(60) < 0.4  # rounded: many ties
    weights = np.concatenate(list(bootstrap_weights(60, 20, seed=0)))
    expected = [roc_auc_score(truth, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(area_under_roc(scores, truth, weights), expected, rtol=1e-12)


def test_youden_by_hand():
    # Sensitivity + specificity: 1 + 1/2 at .25, 1/2 + 1/2 at .5, 1/2 + 1 at .7; of the tie the lowest is taken.
    assert youden_threshold(np.array([0.1, 0.4, 0.6, 0.8]), np.array([0, 1, 0, 1])) == pytest.approx(0.25)


def test_youden_where_scores_say_nothing_calls_nothing_positive():
    assert youden_threshold(np.full(4, 0.3), np.array([0, 1, 0, 1])) == 0.3
    assert math.isnan(youden_threshold(np.array([0.1, 0.9]), np.array([1, 1])))


def test_interval_of_a_constant_is_that_constant():
    report = score_report(
        two_columns([0.9, 0.8, 0.2]), [1, 1, 0], resamples=50
    )  # every case is right in every resample
    assert (report["accuracy_low"], report["accuracy"], report["accuracy_high"]) == (1, 1, 1)
    assert (report["auc_low"], report["auc_high"]) == (1, 1)


def test_interval_follows_the_seed_alone():
    positive, truth = two_columns(np.linspace(0, 1, 40)), np.arange(40) % 2
    first, again, other = (score_report(positive, truth, resamples=100, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert first["auc_low"] < first["auc"] < first["auc_high"]
    assert "tp_low" not in first


def test_interval_of_an_accuracy_is_that_of_the_binomial():
    truth = np.arange(100) % 2
    right = np.arange(100) < 80
    report = score_report(two_columns(np.where(right, truth, 1 - truth).astype(float)), truth, resamples=2000)
    # 80 of 100 right: standard error sqrt(.8 x .2 / 100) = .04.
    assert report["accuracy_low"] == pytest.approx(0.8 - 1.96 * 0.04, abs=0.01)
    assert report["accuracy_high"] == pytest.approx(0.8 + 1.96 * 0.04, abs=0.01)


def test_groups_are_drawn_whole():
    weights = np.concatenate(list(bootstrap_weights(4, 30, seed=0, groups=np.array(["a", "b", "a", "c"]))))
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, [0, 1, 3]].sum(1), 3)  # three patients are drawn each time


@pytest.mark.parametrize(
    ("probabilities", "truth", "message"),
    [
        ([[0.5, 0.5]], [0, 1], r"got shapes \(1, 2\) and \(2,\)"),
        ([[0.5], [0.5]], [0, 1], r"got shapes \(2, 1\)"),
        (np.zeros((0, 2)), [], r"got shapes \(0, 2\)"),
        ([[0.5, 0.5], [math.nan, 0.5]], [0, 1], "1 of 2 cases .* first case 1: .* diverged"),
        ([[0.5, 0.5], [-3.0, 4.0]], [0, 1], "softmax is missing"),
        ([[0.5, 0.5]], [2], r"class indices 0..1, got \[2\]"),
        ([[0.5, 0.5]], [0.5], "class indices"),
    ],
)
def test_bad_input_is_refused(probabilities, truth, message):
    with pytest.raises(ValueError, match=message):
        classification_scores(probabilities, truth)


def test_a_threshold_for_three_classes_is_refused():
    with pytest.raises(ValueError, match="there are 3"):
        classification_scores(np.full((1, 3), 1 / 3), [0], threshold=0.5)
    with pytest.raises(ValueError, match="wants two classes, not 3"):
        evaluate([{"gt_label": torch.tensor([0]), "pred_score": torch.full((3,), 1 / 3)}], threshold="choose")


# ---- the metric ------------------------------------------------------------------------------------------------------


def cases(positive=SCORES, truth=TRUTH) -> list[dict]:
    return [
        {"sample_name": f"case{i}", "gt_label": torch.tensor([t]), "pred_score": torch.tensor([1 - p, p])}
        for i, (p, t) in enumerate(zip(positive, truth, strict=True))
    ]


def evaluate(samples: list[dict], **options) -> dict[str, float]:
    metric = METRICS.build({"type": "ClassificationScores", **options})
    metric.process(None, samples)
    return metric.evaluate(len(samples))


def test_metric_chooses_a_threshold_and_another_scores_at_it():
    chosen = evaluate(cases(), threshold="choose")
    assert chosen["threshold"] == pytest.approx(0.25) and "sensitivity_at_threshold" not in chosen
    tested = evaluate(cases(), threshold=chosen["threshold"])
    assert (tested["sensitivity"], tested["sensitivity_at_threshold"]) == (0.5, 1)
    assert tested["auc"] == chosen["auc"]


def test_metric_refuses_a_threshold_nobody_chose():
    with pytest.raises(ValueError, match="wants a runner that validates first"):
        evaluate(cases(), threshold="val")
    with pytest.raises(ValueError, match="got nan; validation cases of one class tell none"):
        ClassificationScores(threshold=math.nan)
    with pytest.raises(ValueError, match="got 'test'"):
        ClassificationScores(threshold="test")


def test_order_of_gathering_changes_nothing():
    rng = np.random.default_rng(0)
    samples = cases(rng.random(7).astype(np.float32), [0, 1, 0, 1, 1, 0, 1])
    one_process = evaluate(samples, resamples=50)
    two_processes = ClassificationScores(resamples=50)
    two_processes.process(None, samples[0::2])
    two_processes.process(None, samples[1::2])
    assert two_processes.evaluate(7) == one_process


def test_metric_resamples_patients_where_samples_name_them():
    # Three patients with two cases each, one right and one wrong: any three patients have an accuracy of a half.
    samples = cases([0.9, 0.1] * 3, [1] * 6)
    apart = evaluate(samples, resamples=50)
    assert apart["accuracy_low"] < 0.5 < apart["accuracy_high"]
    patients = [sample | {"group": f"patient {place // 2}"} for place, sample in enumerate(samples)]
    together = evaluate(patients, resamples=50)
    assert together["accuracy_low"] == together["accuracy_high"] == 0.5
    # A case of no known patient is one of its own: it may be drawn without the right one.
    patients[1] = samples[1]
    assert evaluate(patients, resamples=50)["accuracy_low"] < 0.5


@pytest.mark.parametrize("patients", [1, 2])
def test_one_or_two_patients_have_no_interval(patients: int):
    groups = np.arange(6) % patients
    probabilities = np.array([0.9, 0.2, 0.7, 0.4, 0.6, 0.1])
    with pytest.warns(UserWarning, match=f"over {patients} patients"):
        report = score_report(
            np.stack([1 - probabilities, probabilities], 1), np.array([1, 0, 0, 1, 1, 0]), resamples=20, groups=groups
        )
    assert math.isfinite(report["auc"]) and math.isnan(report["auc_low"]) and math.isnan(report["auc_high"])


def test_few_patients_have_an_interval_and_a_warning():
    with pytest.warns(UserWarning, match="over 9 patients"):
        assert math.isfinite(score_report(np.full((9, 2), 0.5), np.arange(9) % 2, resamples=20)["accuracy_low"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score_report(np.full((10, 2), 0.5), np.arange(10) % 2, resamples=20)


def test_metric_writes_what_was_said_of_each_case(tmp_path):
    evaluate(cases([0.75, 0.25], [1, 0])[::-1], out=str(tmp_path / "new" / "predictions.csv"))
    table = pd.read_csv(tmp_path / "new" / "predictions.csv")
    assert table.to_dict("list") == {
        "name": ["case0", "case1"],
        "truth": [1, 0],
        "p0": [0.25, 0.75],
        "p1": [0.75, 0.25],
        "group": table.group.tolist(),
    }
    assert table.group.nunique() == 2
    assert len(list((tmp_path / "new").iterdir())) == 1  # nothing temporary is left


def test_metric_names_the_case_without_truth():
    with pytest.raises(ValueError, match="case 'case0': wanted gt_label"):
        evaluate([{"sample_name": "case0", "pred_score": torch.tensor([0.5, 0.5])}])
