"""Networks and what surrounds them; batches are (N, C, D, H, W)."""

from vdt3d.models.backbones import (
    BEiT3D,
    Convert2d,
    FeatureInfo,
    PictureEncoder,
    ResNet3D,
    ResNetNoStemStride,
    Swin3D,
    TorchvisionVideo,
    VideoSwin,
    ViT3D,
    WindowEncoder,
)
from vdt3d.models.classifiers import VolumeClassifier
from vdt3d.models.data_preprocessor import VolumeDataPreprocessor

__all__ = [
    "BEiT3D",
    "Convert2d",
    "FeatureInfo",
    "PictureEncoder",
    "ResNet3D",
    "ResNetNoStemStride",
    "Swin3D",
    "TorchvisionVideo",
    "ViT3D",
    "VideoSwin",
    "VolumeClassifier",
    "VolumeDataPreprocessor",
    "WindowEncoder",
]
