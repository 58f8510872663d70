"""Networks that turn volumes into features."""

from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.backbones.resnet3d import ResNet3D

__all__ = ["FeatureInfo", "ResNet3D"]
