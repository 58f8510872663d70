"""Directions of scores: declared by metrics, never read off names."""

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric

from vdt3d.evaluation import Detections, direction_of, froc_report, match
from vdt3d.experiments.comparison import EVALUATORS
from vdt3d.registry import METRICS
from vdt3d.structures import LabelMap


@METRICS.register_module()
class MiscountedCells(BaseMetric):
    """A metric of a user, with a score whose name shows nothing."""

    default_prefix = "cells"
    directions = {"miscounted": "less", "surplus": None}

    def process(self, data_batch, data_samples) -> None:
        self.results += data_samples

    def compute_metrics(self, results: list) -> dict[str, float]:
        return {"miscounted": 1.0, "surplus": 0.0}


@METRICS.register_module()
class Undeclared(MiscountedCells):
    """The same without a declaration."""

    default_prefix = ""
    directions = None


BOTH = [dict(type="ClassificationScores"), dict(type="MiscountedCells")]


@pytest.mark.parametrize(
    ("score", "metrics", "direction"),
    [
        ("auc", BOTH, "greater"),
        ("log_loss", BOTH, "less"),
        ("log_loss_high", BOTH, "less"),
        ("cells/miscounted", BOTH, "less"),
        ("c/miscounted", [dict(type="MiscountedCells", prefix="c")], "less"),
        ("mssd", [dict(type="SegmentationScores")], "less"),
        ("infinite_distances", [dict(type="SegmentationScores")], "less"),
        ("dice_mean_error", [dict(type="SegmentationScores")], "greater"),  # the Dice of a label of that name
        ("hausdorff_score_loss", [dict(type="GITractScore")], "greater"),
        ("froc_to_4", [dict(type="DetectionScores")], "greater"),
        ("accuracy/top1", [dict(type="Accuracy")], "greater"),
    ],
)
def test_the_metric_declares_the_direction(score: str, metrics: list, direction: str):
    assert direction_of(score, metrics, "save_best") == direction
    assert direction_of(score, [METRICS.build(metric) for metric in metrics], "save_best") == direction


@pytest.mark.parametrize(
    ("score", "metrics", "named"),
    [
        ("volume_difference", [dict(type="SegmentationScores")], "'volume_difference'.*SegmentationScores"),
        ("cells/surplus", BOTH, "'cells/surplus'.*MiscountedCells"),
        ("dice", BOTH, "'dice'.*auc.*cells/miscounted"),
        ("miscounted", [*BOTH, dict(type="Undeclared")], "'miscounted'.*Undeclared.*rule="),
    ],
)
def test_a_score_without_a_direction_is_refused(score: str, metrics: list, named: str):
    with pytest.raises(ValueError, match=f"monitor={named}"):
        direction_of(score, metrics, "monitor")


def all_scores() -> dict[str, dict[str, float]]:
    """Every score that each of our metrics returns, by the name of the metric."""
    label_map = LabelMap(np.ones((1, 2, 3, 3), np.uint8))
    segmented = {"sample_name": "a", "pred_labels": label_map, "reference": label_map}
    probabilities = torch.tensor([0.4, 0.6])
    told = {"ClassificationScores": [{"sample_name": "a", "gt_label": torch.tensor([1]), "pred_score": probabilities}]}
    settings = {"ClassificationScores": dict(threshold=0.4)}
    for name in ("SegmentationScores", "GITractScore"):
        told[name], settings[name] = [segmented], dict(labels={"liver": 1})
    settings["SegmentationScores"]["subsets"] = {"some": ["liver"]}
    scores = {}
    for name, samples in told.items():
        metric = METRICS.build(dict(type=name, **settings[name]))
        metric.process(None, samples)
        scores[name] = metric.evaluate(1)
    box = np.array([[0.0, 0, 1, 1]])
    scores["DetectionScores"] = froc_report(match([Detections(box, [1.0], box)]))["scores"] | {"map": 1, "ap50": 1}
    return scores


def test_every_score_is_declared():
    for name, scores in all_scores().items():
        for score in scores:
            try:
                assert direction_of(score, [dict(type=name)], "save_best") in ("greater", "less")
            except ValueError as error:
                assert "neither" in str(error), score


def test_arms_are_compared_by_scores_of_which_more_is_better():
    for name, told in EVALUATORS.items():
        assert {direction_of(score, [dict(type=name)], "save_best") for score in told.scores} == {"greater"}
