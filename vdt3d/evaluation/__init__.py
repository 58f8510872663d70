"""Scores: what a model said, compared with the truth."""

from vdt3d.evaluation.classification import classification_scores, score_report, youden_threshold
from vdt3d.evaluation.metric import ClassificationScores, save_predictions

__all__ = ["ClassificationScores", "classification_scores", "save_predictions", "score_report", "youden_threshold"]
