"""Networks that turn volumes, or pictures, into features."""

from vdt3d.models.backbones.convert2d import Convert2d
from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.backbones.picture_encoder import PictureEncoder
from vdt3d.models.backbones.resnet2d import ResNetNoStemStride
from vdt3d.models.backbones.resnet3d import ResNet3D
from vdt3d.models.backbones.torchvision_video import TorchvisionVideo

__all__ = ["Convert2d", "FeatureInfo", "PictureEncoder", "ResNet3D", "ResNetNoStemStride", "TorchvisionVideo"]
