"""Scores: what a model said, compared with the truth."""

from vdt3d.evaluation.classification import classification_scores, score_report, youden_threshold
from vdt3d.evaluation.metric import ClassificationScores, save_predictions
from vdt3d.evaluation.overlap import dice, iou, label_counts, volume_difference
from vdt3d.evaluation.surface import DEFINITIONS, hausdorff_distance, surface_scores

__all__ = [
    "DEFINITIONS",
    "ClassificationScores",
    "classification_scores",
    "dice",
    "hausdorff_distance",
    "iou",
    "label_counts",
    "save_predictions",
    "score_report",
    "surface_scores",
    "volume_difference",
    "youden_threshold",
]
