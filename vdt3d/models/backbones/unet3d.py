"""The 3D U-Net of Models Genesis (Zhou et al. 2019); shapes are (N, C, D, H, W)."""

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.backbones.resnet3d import DEFAULT_INIT
from vdt3d.models.layers.norms import volume_norm
from vdt3d.models.layers.safe_conv import SafeConv3d
from vdt3d.registry import MODELS

TRANSPOSED_INIT = {"type": "Kaiming", "layer": "ConvTranspose3d", "mode": "fan_out", "nonlinearity": "relu"}
SCALES = (64, 128, 256, 512)  # the widths of the published network, which name its layers


@MODELS.register_module()
class UNet3D(BaseModule):
    """Four encoder and three decoder stages with the state-dict names of the published weights (Genesis_Chest_CT.pt).

    It differs from the published code in two faults left out: scores are not squashed by a sigmoid, and the norms are
    ordinary ones, which in testing use their running statistics. Sizes that do not divide by 8 are pooled up to the
    next whole number, and upsampled maps are cut to the size of their skip.

    Args:
        in_channels: channels of the input.
        num_classes: end in as many scores, to be read by a ``PseudoHead``; without it the last feature is the
            decoder's, for a head with parameters.
        decoder: whether to build the decoder; without it the one feature is the encoder's last, for a classifier.
        base_channels: width of the first convolution; the published weights have 32.
        norm_cfg: 'BN', 'SyncBN', 'IN' or 'GN' (with ``num_groups``) and the norm's own arguments.
        init_cfg: Kaiming (fan-out) for convolutions and 1 for norms when left out.

    Raises:
        ValueError: scores are asked for without a decoder.
    """

    def __init__(
        self,
        in_channels: int = 1,
        *,
        num_classes: int | None = None,
        decoder: bool = True,
        base_channels: int = 32,
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ):
        super().__init__([*DEFAULT_INIT, TRANSPOSED_INIT] if init_cfg is None else init_cfg)
        norm_cfg, widths = volume_norm(norm_cfg), [base_channels * 2**k for k in range(1, 5)]
        for name, given, width in zip(SCALES, [in_channels, *widths], widths, strict=False):
            middle = base_channels if name == SCALES[0] else given
            self.add_module(f"down_tr{name}", Down(given, middle, width, norm_cfg))
        if num_classes is not None and not decoder:
            raise ValueError(f"num_classes={num_classes}: a UNet3D without its decoder ends in no scores")
        features = [FeatureInfo("down_tr512", widths[-1], (8, 8, 8))]
        self.levels = (2, 1, 0) if decoder else ()
        self.left_out = frozenset() if decoder else frozenset(f"up_tr{SCALES[level]}." for level in (2, 1, 0))
        for level in self.levels:
            name, width = f"up_tr{SCALES[level]}", widths[level]
            self.add_module(name, Up(widths[level + 1], width, norm_cfg))
            features.append(FeatureInfo(name, width, (2**level,) * 3))
        self.out_tr = None
        if num_classes is not None:
            self.out_tr = nn.ModuleDict({"final_conv": SafeConv3d(widths[0], num_classes, 1)})
            features.append(FeatureInfo("out_tr", num_classes, (1, 1, 1)))
        self.feature_info = tuple(features)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The features that ``feature_info`` announces, coarsest first, the scores (if any) last."""
        skips = []
        for name in SCALES:
            x = getattr(self, f"down_tr{name}")(F.max_pool3d(x, 2, ceil_mode=True) if skips else x)
            skips.append(x)
        features = [skips[-1]]
        for level in self.levels:
            features.append(getattr(self, f"up_tr{SCALES[level]}")(features[-1], skips[level]))
        if self.out_tr is not None:
            features.append(self.out_tr["final_conv"](features[-1]))
        return tuple(features)


class ConvNormReLU(nn.Module):
    """A 3x3x3 convolution with bias, a norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, norm_cfg: dict):
        super().__init__()
        self.conv1 = SafeConv3d(in_channels, out_channels, 3, padding=1)
        self.norm_name, norm = build_norm_layer(norm_cfg, out_channels, postfix=1)
        self.add_module(self.norm_name, norm)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(getattr(self, self.norm_name)(self.conv1(x)), inplace=True)


class Down(nn.Module):
    """Two convolutions."""

    def __init__(self, in_channels: int, middle: int, out_channels: int, norm_cfg: dict):
        super().__init__()
        self.ops = nn.Sequential(
            ConvNormReLU(in_channels, middle, norm_cfg), ConvNormReLU(middle, out_channels, norm_cfg)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.ops(x)


class Up(Down):
    """A transposed convolution of stride 2, joined with the skip, and two convolutions."""

    def __init__(self, coarse: int, channels: int, norm_cfg: dict):
        super().__init__(coarse + channels, channels, channels, norm_cfg)
        # Its blocks do not overlap: the bfloat16 faults of short inputs (see SafeConv3d) were not seen here.
        self.up_conv = nn.ConvTranspose3d(coarse, coarse, 2, stride=2)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        depth, height, width = skip.shape[2:]
        x = self.up_conv(x)[:, :, :depth, :height, :width]
        return self.ops(torch.cat([x, skip], dim=1))
