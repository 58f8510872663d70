"""Channels and strides of the maps that a 2D network returns, found by a trial.

Shapes are (N, C, H, W).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.backbones.feature_maps import maps_of, strides_of
from vdt3d.models.probing import probe_output

PROBE_SIDE = 192  # of the image by which features are found, see ``with_features``


def probe_features(network: nn.Module, in_channels: int) -> tuple[FeatureInfo, ...]:
    """Return the channels and strides of the maps that a 2D network makes of images.

    Raises:
        ValueError: it fails on images of ``PROBE_SIDE`` x ``PROBE_SIDE``, or does not return maps whose sizes are the
            image's, divided.
    """
    return _probe(network, torch.zeros(1, in_channels, PROBE_SIDE, PROBE_SIDE))


def probe_features_behind(network: nn.Module, infos: Sequence[FeatureInfo]) -> tuple[FeatureInfo, ...]:
    """Return the channels and strides of the maps that a 2D network, such as a neck, makes of those of ``infos``.

    Raises:
        ValueError: as ``probe_features``.
    """
    return _probe(network, maps_like(infos, PROBE_SIDE))


def maps_like(infos: Sequence[FeatureInfo], side: int, device: str | None = None) -> list[Tensor]:
    """Return maps (1, c, h, w) of zeros, as ``infos`` announce them for an image of ``side`` x ``side``."""
    sides = [side // info.stride[2] for info in infos]
    return [torch.zeros(1, info.channels, n, n, device=device) for info, n in zip(infos, sides, strict=True)]


def _probe(network: nn.Module, inputs: Tensor | list[Tensor]) -> tuple[FeatureInfo, ...]:
    name, maps = type(network).__name__, maps_of(probe_output(network, inputs))
    strides = strides_of(name, maps, (1, PROBE_SIDE, PROBE_SIDE))
    return tuple(
        FeatureInfo(f"feature{index}", features.shape[1], (1, stride, stride))
        for index, (features, stride) in enumerate(zip(maps, strides, strict=True))
    )
