"""Models that tell classes apart."""

from vdt3d.models.classifiers.volume_classifier import VolumeClassifier

__all__ = ["VolumeClassifier"]
