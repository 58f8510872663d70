"""Networks and what surrounds them; batches are (N, C, D, H, W)."""

import vdt3d.models.weights.load  # noqa: F401  (whoever builds a network has our safe `Pretrained`, with or without an engine)
from vdt3d.models.backbones import (
    MP3D,
    P3D,
    BEiT3D,
    Convert2d,
    FeatureInfo,
    PictureEncoder,
    ResNet3D,
    ResNetNoStemStride,
    SliceEncoder,
    Swin3D,
    TorchvisionVideo,
    UNet3D,
    VideoSwin,
    ViT3D,
    VolumeEncoder,
    WindowBackbone,
    WindowEncoder,
)
from vdt3d.models.classifiers import VolumeClassifier
from vdt3d.models.data_preprocessor import VolumeDataPreprocessor
from vdt3d.models.detectors import FCOS3D, FasterRCNN3D, RetinaNet3D, WindowDetector

__all__ = [
    "FCOS3D",
    "MP3D",
    "P3D",
    "BEiT3D",
    "Convert2d",
    "FasterRCNN3D",
    "FeatureInfo",
    "PictureEncoder",
    "ResNet3D",
    "ResNetNoStemStride",
    "RetinaNet3D",
    "SliceEncoder",
    "Swin3D",
    "TorchvisionVideo",
    "UNet3D",
    "ViT3D",
    "VideoSwin",
    "VolumeClassifier",
    "VolumeDataPreprocessor",
    "VolumeEncoder",
    "WindowBackbone",
    "WindowDetector",
    "WindowEncoder",
]
