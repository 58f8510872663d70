"""The decoder of a 2D U-Net over the features of any backbone of pictures; shapes are (N, C, H, W)."""

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional

from vdt3d.registry import MODELS


@MODELS.register_module()
class PictureUNetNeck(BaseModule):
    """Steps from the coarsest feature to the finest: upsample to the size of the skip, join, convolve twice.

    Args:
        in_channels: of the features, finest first.
        channels: of the steps, finest first; those of the skips when left out.
        norm_cfg: of mmcv; BN when left out.
        init_cfg: how to initialise it; Kaiming (fan-out) and 1 for norms when left out.

    Raises:
        ValueError: fewer than two features, or not one number of channels for each but the coarsest.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        *,
        channels: Sequence[int] | None = None,
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ):
        kaiming = [{"type": "Kaiming", "layer": "Conv2d"}, {"type": "Constant", "val": 1, "layer": "_BatchNorm"}]
        super().__init__(kaiming if init_cfg is None else init_cfg)
        channels = list(in_channels[:-1] if channels is None else channels)
        if len(in_channels) < 2 or len(channels) != len(in_channels) - 1:
            raise ValueError(f"channels={channels} for features of {list(in_channels)}: one step for each but the last")
        below = [*channels[1:], in_channels[-1]]
        norm_cfg = norm_cfg or {"type": "BN"}
        self.steps = nn.ModuleList(
            nn.Sequential(
                ConvModule(skip + coarse, width, 3, padding=1, norm_cfg=norm_cfg),
                ConvModule(width, width, 3, padding=1, norm_cfg=norm_cfg),
            )
            for skip, coarse, width in zip(in_channels[:-1], below, channels, strict=True)
        )

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The steps' outputs, coarsest first, finest last."""
        outputs = [features[-1]]
        for step, skip in zip(reversed(self.steps), reversed(features[:-1]), strict=True):
            up = functional.interpolate(outputs[-1], skip.shape[2:], mode="bilinear", align_corners=False)
            outputs.append(step(torch.cat([skip, up], dim=1)))
        return tuple(outputs[1:])
