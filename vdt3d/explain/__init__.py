"""What an answer rests on: maps of evidence, tests of such maps, concepts; the network arrives as a callable."""

from vdt3d.explain.checks import areas, elsewhere, likeness, randomised, removal_curve
from vdt3d.explain.concepts import ConceptReport, concept_tests
from vdt3d.explain.maps import (
    attention_rollout,
    grad_cam,
    integrated_gradients,
    last_maps,
    occlusion,
    saliency,
)
from vdt3d.explain.scores import Score, class_score, finding_score, log_odds, region_score

__all__ = [
    "ConceptReport",
    "Score",
    "areas",
    "attention_rollout",
    "class_score",
    "concept_tests",
    "elsewhere",
    "finding_score",
    "grad_cam",
    "integrated_gradients",
    "last_maps",
    "likeness",
    "log_odds",
    "occlusion",
    "randomised",
    "region_score",
    "removal_curve",
    "saliency",
]
