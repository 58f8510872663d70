"""PictureEncoder: a 2D network of torchvision or timm as a backbone of pictures with any number of channels.

Shapes are (N, C, H, W).
"""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.backbones.feature_maps import maps_of, picture_network, strides_of, with_features
from vdt3d.models.inflate.kernels import COLOURS
from vdt3d.models.probing import probe_output
from vdt3d.registry import MODELS

SIDE = 192  # of the picture by which features are told, see ``with_features``


@MODELS.register_module()
class PictureEncoder(BaseModule):
    """The maps of a 2D network at each resolution, finest first: what decoders are built upon.

    They are those that timm announces; of torchvision's networks, the last that no shortcut goes around. State-dict
    keys are ``network.`` and the key of the 2D network, so ``load_from`` takes its 2D checkpoints.

    Args:
        model: 'torchvision.NAME' or 'timm.NAME' (the package must be installed).
        in_channels: of the pictures.
        out_indices: which of the features to return; all when left out.
        init_cfg: how to initialise it.

    Raises:
        ValueError: there is no such network, feature, or map whose sizes are the picture's, divided.
    """

    def __init__(
        self,
        model: str,
        *,
        in_channels: int = COLOURS,
        out_indices: Sequence[int] | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        network = picture_network(model)
        take_channels(network, in_channels)
        self.network, indices = with_features(network, (in_channels, SIDE, SIDE), out_indices)
        infos = announced(self.network, in_channels)
        self.feature_info = tuple(
            info._replace(name=f"feature{index}") for info, index in zip(infos, indices, strict=True)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The features that ``feature_info`` announces, of (N, ``in_channels``, H, W)."""
        return tuple(maps_of(self.network(x)))


def take_channels(network: nn.Module, in_channels: int) -> None:
    """Give the convolutions that read the picture fresh kernels for ``in_channels``, in place.

    Those are the ones for three channels, or else the network's first.

    Raises:
        ValueError: there is no convolution.
    """
    convs = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    if not convs:
        raise ValueError(f"{type(network).__name__} has no convolution that could read other channels")
    for conv in [conv for conv in convs if conv.in_channels == COLOURS and conv.groups == 1] or convs[:1]:
        if conv.in_channels != in_channels:
            conv.in_channels = in_channels
            conv.weight = nn.Parameter(conv.weight.new_empty(conv.out_channels, in_channels, *conv.kernel_size))
            conv.reset_parameters()


def announced(network: nn.Module, in_channels: int) -> tuple[FeatureInfo, ...]:
    """Return the channels and strides of the maps that a 2D network makes of images.

    Raises:
        ValueError: it fails on images of ``SIDE`` x ``SIDE``, or does not return maps whose sizes are the image's,
            divided.
    """
    return _announced(network, torch.zeros(1, in_channels, SIDE, SIDE))


def announced_behind(network: nn.Module, infos: Sequence[FeatureInfo]) -> tuple[FeatureInfo, ...]:
    """Return the channels and strides of the maps that a 2D network, such as a neck, makes of those of ``infos``.

    Raises:
        ValueError: as ``announced``.
    """
    return _announced(network, maps_like(infos, SIDE))


def maps_like(infos: Sequence[FeatureInfo], side: int, device: str | None = None) -> list[Tensor]:
    """Return maps (1, c, h, w) of zeros, as ``infos`` announce them for an image of ``side`` x ``side``."""
    sides = [side // info.stride[2] for info in infos]
    return [torch.zeros(1, info.channels, n, n, device=device) for info, n in zip(infos, sides, strict=True)]


def _announced(network: nn.Module, inputs: Tensor | list[Tensor]) -> tuple[FeatureInfo, ...]:
    name, maps = type(network).__name__, maps_of(probe_output(network, inputs))
    strides = strides_of(name, maps, (1, SIDE, SIDE))
    return tuple(
        FeatureInfo(f"feature{index}", features.shape[1], (1, stride, stride))
        for index, (features, stride) in enumerate(zip(maps, strides, strict=True))
    )
