"""Scores of segmentations."""

from medseg.evaluation.metric import SegmentationScores
from medseg.evaluation.report import case_table, save_report
from medseg.evaluation.scores import case_scores, summary

__all__ = ["SegmentationScores", "case_scores", "case_table", "save_report", "summary"]
