"""Networks that turn volumes, or pictures, into features."""

from vdt3d.models.backbones.convert2d import Convert2d
from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.backbones.p3d import MP3D, P3D
from vdt3d.models.backbones.resnet2d import ResNetNoStemStride
from vdt3d.models.backbones.resnet3d import ResNet3D
from vdt3d.models.backbones.slice_encoder import SliceEncoder
from vdt3d.models.backbones.swin import Swin3D, VideoSwin
from vdt3d.models.backbones.torchvision_video import TorchvisionVideo
from vdt3d.models.backbones.unet3d import UNet3D
from vdt3d.models.backbones.vit3d import BEiT3D, ViT3D
from vdt3d.models.backbones.volume_encoder import VolumeEncoder
from vdt3d.models.backbones.window_backbone import WindowBackbone
from vdt3d.models.backbones.window_encoder import PictureEncoder, WindowEncoder

__all__ = [
    "MP3D",
    "P3D",
    "BEiT3D",
    "Convert2d",
    "FeatureInfo",
    "PictureEncoder",
    "ResNet3D",
    "ResNetNoStemStride",
    "SliceEncoder",
    "Swin3D",
    "TorchvisionVideo",
    "UNet3D",
    "ViT3D",
    "VideoSwin",
    "VolumeEncoder",
    "WindowBackbone",
    "WindowEncoder",
]
