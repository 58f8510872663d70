"""The decoder of a U-Net over whatever features its backbone announces; shapes are (N, C, D, H, W)."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from medseg.models.layers import conv_block, to_size
from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.backbones.resnet3d import DEFAULT_INIT
from vdt3d.registry import MODELS


@MODELS.register_module()
class UNetNeck(BaseModule):
    """Steps from the coarsest feature to the finest: upsample, join with the skip, convolve.

    A step upsamples to the exact size of its skip. Where the sizes divide by the strides that is the factor between
    the strides (2 per axis in the release; (1, 2, 2) and others follow from ``feature_info``); elsewhere an odd size
    is met too, so a patch may have any size. State-dict names are those of the original VDT release.

    Args:
        feature_info: of the backbone, finest first.
        num_convs: 3x3x3 convolutions per step.
        norm_cfg: 'BN', 'SyncBN', 'IN' or 'GN' (with ``num_groups``) and the norm's own arguments.
        init_cfg: Kaiming (fan-out) for convolutions and 1 for norms when left out.

    Raises:
        ValueError: fewer than two features, or features that do not get coarser from one to the next.
    """

    def __init__(
        self,
        feature_info: Sequence[FeatureInfo],
        *,
        num_convs: int = 2,
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ):
        super().__init__(DEFAULT_INIT if init_cfg is None else init_cfg)
        strides = [info.stride for info in feature_info]
        pairs = list(pairwise(strides))
        if not pairs or any(fine > coarse for pair in pairs for fine, coarse in zip(*pair, strict=True)):
            raise ValueError(
                f"UNetNeck joins two features or more, finest first, and got strides {strides}; a ResNet3D gives them "
                "with unet_features=True, out_indices=(0, 1, 2, 3)"
            )
        self.decoder = nn.ModuleList(
            UpBlock(coarse, fine, num_convs, norm_cfg) for fine, coarse in pairwise(feature_info)
        )
        steps = [FeatureInfo(f"decoder.{i}", info.channels, info.stride) for i, info in enumerate(feature_info[:-1])]
        self.feature_info = (feature_info[-1], *reversed(steps))

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The coarsest feature as it is, then the output of each step: coarsest first, finest last."""
        outputs = [features[-1]]
        for block, skip in zip(reversed(self.decoder), reversed(features[:-1]), strict=True):
            outputs.append(block(skip, outputs[-1]))
        return tuple(outputs)


class UpBlock(nn.Module):
    """One step up: to the size and channels of the skip, joined with it, convolved."""

    def __init__(self, coarse: FeatureInfo, fine: FeatureInfo, num_convs: int, norm_cfg: dict | None):
        super().__init__()
        # Where the stride stays, the release has the bare convolution under this name.
        layer = conv_block if coarse.stride == fine.stride else Upsample
        self.upsample = layer(coarse.channels, fine.channels, kernel=1, norm_cfg=norm_cfg)
        self.conv_block = ConvChain(2 * fine.channels, fine.channels, num_convs, norm_cfg)

    def forward(self, skip: Tensor, x: Tensor) -> Tensor:
        x = self.upsample(x, skip.shape[2:]) if isinstance(self.upsample, Upsample) else self.upsample(x)
        return self.conv_block(torch.cat([skip, x], dim=1))


class ConvChain(nn.Module):
    """3x3x3 convolutions, each with norm and ReLU."""

    def __init__(self, in_channels: int, channels: int, count: int, norm_cfg: dict | None):
        super().__init__()
        inputs = [in_channels] + [channels] * (count - 1)
        self.convs = nn.Sequential(*[conv_block(given, channels, 3, norm_cfg) for given in inputs])

    def forward(self, x: Tensor) -> Tensor:
        return self.convs(x)


class Upsample(nn.Module):
    """Trilinear interpolation and a 1x1x1 convolution with norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, norm_cfg: dict | None):
        super().__init__()
        # In the release this was a sequence whose place 0 held the interpolation, which has no parameters.
        self.interp_upsample = nn.ModuleDict({"1": conv_block(in_channels, out_channels, kernel, norm_cfg)})

    def forward(self, x: Tensor, size: tuple[int, int, int]) -> Tensor:
        return self.interp_upsample["1"](to_size(x, size))
