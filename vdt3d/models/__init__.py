"""Networks and what surrounds them; batches are (N, C, D, H, W)."""

from vdt3d.models.backbones import (
    Convert2d,
    FeatureInfo,
    PictureEncoder,
    ResNet3D,
    ResNetNoStemStride,
    TorchvisionVideo,
)
from vdt3d.models.classifiers import VolumeClassifier
from vdt3d.models.data_preprocessor import VolumeDataPreprocessor

__all__ = [
    "Convert2d",
    "FeatureInfo",
    "PictureEncoder",
    "ResNet3D",
    "ResNetNoStemStride",
    "TorchvisionVideo",
    "VolumeClassifier",
    "VolumeDataPreprocessor",
]
