"""The 2D twin of the ResNet3D that VDT pre-trains on small pictures: the same stem, flat."""

from mmcv.cnn import build_conv_layer, build_norm_layer
from mmpretrain.models.backbones import ResNet_CIFAR
from torch import nn

from vdt3d.registry import MODELS


@MODELS.register_module()
class ResNetNoStemStride(ResNet_CIFAR):
    """mmpretrain's ResNet with a 7x7 stem of stride 1 and no max-pool, for pictures (N, 3, H, W) of CIFAR's size.

    Its weights fill a ``ResNet3D`` of ``stem_stride=False`` key by key.
    """

    def _make_stem_layer(self, in_channels: int, base_channels: int) -> None:
        self.conv1 = build_conv_layer(self.conv_cfg, in_channels, base_channels, 7, padding=3, bias=False)
        self.norm1_name, norm = build_norm_layer(self.norm_cfg, base_channels, postfix=1)
        self.add_module(self.norm1_name, norm)
        self.relu = nn.ReLU(inplace=True)
