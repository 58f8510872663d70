"""Residual blocks of P3D: each 3x3x3 convolution split into S, in the plane (1x3x3), and T, along depth (3x1x1).

Qiu et al., "Learning spatio-temporal representation with pseudo-3D residual networks", ICCV 2017; the two in a row (A),
side by side (B), or T as a bypass of S (C). State-dict names are those of the MP3D release.
"""

import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from vdt3d.models.layers.residual import Residual, Stride, conv, conv_shortcut
from vdt3d.models.layers.safe_conv import SafeConv3d

KINDS = "ABC"
UNSTRIDED = (1, 1, 1)


def plane_conv(in_channels: int, out_channels: int, stride: Stride = UNSTRIDED) -> nn.Conv3d:
    """S: a convolution in height and width alone."""
    return SafeConv3d(in_channels, out_channels, (1, 3, 3), stride, (0, 1, 1), bias=False)


def depth_conv(in_channels: int, out_channels: int, stride: Stride = UNSTRIDED) -> nn.Conv3d:
    """T: a convolution along depth alone."""
    return SafeConv3d(in_channels, out_channels, (3, 1, 1), stride, (1, 0, 0), bias=False)


class PseudoBlock(Residual):
    """Four convolutions, conv1 to conv4, each with a norm (norm_1 to norm_4), and a shortcut.

    A subclass defines ``_convs``, which are the four, and how they are joined (``_chain``).

    Args:
        in_channels: channels of the input.
        width: channels within; those of the output are ``expansion`` times as many.
        stride: of the block, per axis.
        kind: 'A', 'B' or 'C'.
        norm_cfg: the kind of norm, as mmcv's ``build_norm_layer`` reads it.
        with_cp: recompute the block in the backward pass instead of keeping its activations.
    """

    expansion: int

    def __init__(self, in_channels: int, width: int, stride: Stride, kind: str, *, norm_cfg: dict, with_cp: bool):
        super().__init__(with_cp)
        self.kind, self.out_channels = kind, self.expansion * width
        for number, layer in enumerate(self._convs(in_channels, width, stride), 1):
            self.add_module(f"conv{number}", layer)
            self.add_module(f"norm_{number}", build_norm_layer(norm_cfg, layer.out_channels)[1])
        if in_channels != self.out_channels or max(stride) > 1:
            self.downsample = conv_shortcut(in_channels, self.out_channels, stride, norm_cfg, avg_down=False)

    def _convs(self, in_channels: int, width: int, stride: Stride) -> list[nn.Conv3d]:
        raise NotImplementedError

    def _normed(self, x: Tensor, number: int) -> Tensor:
        """A convolution and its norm."""
        return getattr(self, f"norm_{number}")(getattr(self, f"conv{number}")(x))

    def _active(self, x: Tensor, number: int) -> Tensor:
        """A convolution, its norm, ReLU."""
        return F.relu(self._normed(x, number), inplace=True)

    def _split(self, x: Tensor, number: int) -> Tensor:
        """S, which is convolution ``number``, and T, the next one, joined as the block's kind says."""
        y = self._active(x, number)
        if self.kind == "A":
            return self._active(y, number + 1)
        return y + self._active(x if self.kind == "B" else y, number + 1)


class PseudoBasic(PseudoBlock):
    """Twice S and T; all sums, the last one too, are of what ReLU leaves."""

    expansion = 1

    def _convs(self, in_channels: int, width: int, stride: Stride) -> list[nn.Conv3d]:
        beside = self.kind == "B"  # where T reads what S reads, it strides as S does
        return [
            plane_conv(in_channels, width, stride),
            depth_conv(in_channels, width, stride) if beside else depth_conv(width, width),
            plane_conv(width, width),
            depth_conv(width, width),
        ]

    def _chain(self, x: Tensor) -> Tensor:
        return self._split(self._split(x, 1), 3)


class PseudoBottleneck(PseudoBlock):
    """S and T between two 1x1x1 convolutions, of which the first strides."""

    expansion = 4

    def _convs(self, in_channels: int, width: int, stride: Stride) -> list[nn.Conv3d]:
        return [
            conv(in_channels, width, 1, stride),
            plane_conv(width, width),
            depth_conv(width, width),
            conv(width, self.out_channels, 1),
        ]

    def _chain(self, x: Tensor) -> Tensor:
        return self._normed(self._split(self._active(x, 1), 2), 4)
