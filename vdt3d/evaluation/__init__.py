"""Scores: what a model said, compared with the truth."""

from vdt3d.evaluation.calibration import Reliability, calibration_scores, fit_temperature, reliability
from vdt3d.evaluation.classification import classification_scores, score_report, youden_threshold
from vdt3d.evaluation.detection import (
    Detections,
    coco_scores,
    froc_curve,
    froc_report,
    match,
    sensitivities,
)
from vdt3d.evaluation.detection_metric import DetectionScores
from vdt3d.evaluation.directions import Direction, direction_of
from vdt3d.evaluation.metric import ClassificationScores, save_predictions
from vdt3d.evaluation.overlap import dice, iou, label_counts, volume_difference
from vdt3d.evaluation.surface import DEFINITIONS, hausdorff_distance, surface_scores
from vdt3d.evaluation.validation_loss import ValidationLoss

__all__ = [
    "DEFINITIONS",
    "ClassificationScores",
    "DetectionScores",
    "Detections",
    "Direction",
    "Reliability",
    "ValidationLoss",
    "calibration_scores",
    "classification_scores",
    "coco_scores",
    "dice",
    "direction_of",
    "fit_temperature",
    "froc_curve",
    "froc_report",
    "hausdorff_distance",
    "iou",
    "label_counts",
    "match",
    "reliability",
    "save_predictions",
    "score_report",
    "sensitivities",
    "surface_scores",
    "volume_difference",
    "youden_threshold",
]
