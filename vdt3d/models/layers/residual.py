"""Residual blocks in three dimensions: a chain of convolutions and norms, and the shortcuts A and B around it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from vdt3d.models.layers.safe_conv import SafeConv3d

Stride = tuple[int, int, int]  # (D, H, W)


def conv(in_channels: int, out_channels: int, kernel: int, stride: Stride | int = 1, dilation: int = 1) -> nn.Conv3d:
    """A convolution without bias (a norm follows) that keeps the size at stride 1."""
    padding = dilation * (kernel - 1) // 2
    return SafeConv3d(in_channels, out_channels, kernel, stride, padding, dilation, bias=False)


def basic_convs(
    in_channels: int, width: int, stride: Stride, dilation: int, style: str, *, dilate_both: bool = False
) -> list[nn.Conv3d]:
    """Return the two convolutions of ResNet-10, 18 and 34, for which every ``style`` is the same."""
    second = dilation if dilate_both else 1
    return [conv(in_channels, width, 3, stride, dilation), conv(width, width, 3, dilation=second)]


def bottleneck_convs(in_channels: int, width: int, stride: Stride, dilation: int, style: str) -> list[nn.Conv3d]:
    """The three of ResNet-50 and deeper; the stride is on the 3x3x3 ('pytorch') or on the first 1x1x1 ('caffe')."""
    first, second = (1, stride) if style == "pytorch" else (stride, 1)
    return [conv(in_channels, width, 1, first), conv(width, width, 3, second, dilation), conv(width, 4 * width, 1)]


class Residual(BaseModule):
    """``relu(chain(x) + shortcut(x))``.

    A subclass defines ``_chain``; it sets ``out_channels``, and ``downsample`` where the shortcut is not the input.

    Args:
        with_cp: recompute the chain in the backward pass instead of keeping its activations.
        init_cfg: how to initialise it.
    """

    out_channels: int

    def __init__(self, with_cp: bool, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.with_cp, self.downsample = with_cp, None

    def forward(self, x: Tensor) -> Tensor:
        y = self._checkpointed(x) if self.with_cp and torch.is_grad_enabled() else self._chain(x)
        return F.relu(y + (x if self.downsample is None else self.downsample(x)), inplace=True)

    def _chain(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _checkpointed(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():  # the compiler recomputes without side effects, and knows no contexts
            return checkpoint(self._chain, x, use_reentrant=False)
        contexts = nullcontext(), self._statistics_kept()
        return checkpoint(self._chain, x, use_reentrant=False, context_fn=lambda: contexts)

    @contextmanager
    def _statistics_kept(self) -> Iterator[None]:
        """While the chain is computed again: else every batch would enter the running statistics twice."""
        norms = [module for module in self.children() if isinstance(module, _BatchNorm)]
        before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        try:
            yield
        finally:
            for norm, (momentum, count) in zip(norms, before, strict=True):
                norm.momentum, norm.num_batches_tracked = momentum, count


class ResidualBlock(Residual):
    """A chain of convolutions and norms with a shortcut; its layers are named conv1, bn1 (or gn1, in1), conv2, ...

    Args:
        in_channels: channels of the input.
        width: channels of the first convolution.
        stride: of the block, per axis.
        dilation: of the first 3x3x3 convolution.
        convs_of: ``basic_convs`` or ``bottleneck_convs``: the chain, each followed by a norm, with ReLU in between.
        style: where a bottleneck strides.
        shortcut_type: 'A' (zero padding) or 'B' (convolution), used where the block changes the shape.
        avg_down: let shortcut B average where it strides.
        force_shortcut: use shortcut B even if the shape stays.
        norm_cfg: the kind of norm, as mmcv's ``build_norm_layer`` reads it.
        with_cp: recompute the chain in the backward pass instead of keeping its activations.
        zero_init: start as the identity, with the last norm's weight 0.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: Stride,
        dilation: int,
        *,
        convs_of: Callable[..., list[nn.Conv3d]],
        style: str,
        shortcut_type: str,
        avg_down: bool,
        norm_cfg: dict,
        with_cp: bool,
        zero_init: bool,
        force_shortcut: bool = False,
    ):
        convs = convs_of(in_channels, width, stride, dilation, style)
        norms = [build_norm_layer(norm_cfg, layer.out_channels, number) for number, layer in enumerate(convs, 1)]
        last_norm = norms[-1][0]
        init_cfg = {"type": "Constant", "val": 0, "override": {"name": last_norm}} if zero_init else None
        super().__init__(with_cp, init_cfg)
        for number, (layer, (norm_name, norm)) in enumerate(zip(convs, norms, strict=True), 1):
            self.add_module(f"conv{number}", layer)
            self.add_module(norm_name, norm)
        self.norm_names = [name for name, _ in norms]
        self.out_channels = convs[-1].out_channels
        if in_channels != self.out_channels or max(stride) > 1 or force_shortcut:
            if shortcut_type == "A":
                self.downsample = PaddedShortcut(self.out_channels, stride)
            else:
                self.downsample = conv_shortcut(in_channels, self.out_channels, stride, norm_cfg, avg_down)

    def _chain(self, x: Tensor) -> Tensor:
        for number, norm_name in enumerate(self.norm_names, 1):
            if number > 1:
                x = F.relu(x, inplace=True)
            x = getattr(self, norm_name)(getattr(self, f"conv{number}")(x))
        return x


class PaddedShortcut(nn.Module):
    """Shortcut A, free of parameters: every stride-th voxel, with channels of zeros behind the given ones."""

    def __init__(self, out_channels: int, stride: Stride):
        super().__init__()
        self.out_channels, self.stride = out_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        depth, height, width = self.stride
        x = x[:, :, ::depth, ::height, ::width]
        return F.pad(x, (0, 0, 0, 0, 0, 0, 0, self.out_channels - x.shape[1]))


def conv_shortcut(in_channels: int, out_channels: int, stride: Stride, norm_cfg: dict, avg_down: bool) -> nn.Sequential:
    """Shortcut B: a 1x1x1 convolution and a norm; with ``avg_down`` an average does the striding before them."""
    layers: list[nn.Module] = []
    if avg_down and max(stride) > 1:
        layers.append(AverageDown(stride, stride, ceil_mode=True, count_include_pad=False))
        stride = (1, 1, 1)
    layers += [conv(in_channels, out_channels, 1, stride), build_norm_layer(norm_cfg, out_channels)[1]]
    return nn.Sequential(*layers)


class AverageDown(nn.AvgPool3d):
    """Average pooling of whatever there is along an axis shorter than the kernel, where torch's would refuse."""

    def forward(self, x: Tensor) -> Tensor:
        kernel = tuple(map(min, self.kernel_size, x.shape[2:]))
        return F.avg_pool3d(x, kernel, self.stride, self.padding, self.ceil_mode, self.count_include_pad)
