"""Scores of segmentations, and the thresholds they choose."""

from medseg.evaluation.gi_tract import GITractScore
from medseg.evaluation.metric import CaseMetric, SegmentationScores
from medseg.evaluation.report import case_table, save_report
from medseg.evaluation.scores import case_scores, summary
from medseg.evaluation.thresholds import ThresholdSurvey

__all__ = [
    "CaseMetric",
    "GITractScore",
    "SegmentationScores",
    "ThresholdSurvey",
    "case_scores",
    "case_table",
    "save_report",
    "summary",
]
