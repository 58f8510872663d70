"""Networks and what surrounds them; batches are (N, C, D, H, W)."""

from vdt3d.models.backbones import FeatureInfo, ResNet3D
from vdt3d.models.classifiers import VolumeClassifier
from vdt3d.models.data_preprocessor import VolumeDataPreprocessor

__all__ = ["FeatureInfo", "ResNet3D", "VolumeClassifier", "VolumeDataPreprocessor"]
