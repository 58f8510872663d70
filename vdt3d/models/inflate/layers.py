"""3D counterparts of torch's layers on images: one short function per class, and the table of them."""

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import wrappers
from torch import Tensor, nn
from torchvision.ops import Permute

from vdt3d.models.inflate.functions import (
    ConversionError,
    VolumeFunctions,
    avg_pool3d,
    layer_axes,
    pad_depth,
    pad_same,
)
from vdt3d.models.inflate.kernels import inflate_kernel
from vdt3d.models.layers.acs_conv import ACSConv3d
from vdt3d.models.layers.safe_conv import SafeConv3d

# ---- the same layer with another forward -----------------------------------------------------------------------------


class VolumeLayer:
    """Base of what is put before the class of a 2D layer to make it one of volumes.

    State, mode, hooks and children of the module stay. It can be copied and pickled.
    """

    def __reduce_ex__(self, protocol: int) -> tuple:
        mixin, kind = type(self).__bases__
        return _blank, (mixin, kind), self.__dict__


def with_mixin(module: nn.Module, mixin: type[VolumeLayer]) -> nn.Module:
    """Put ``mixin`` before the class of ``module``, in place, and return ``module``."""
    module.__class__ = _mixed(mixin, type(module))
    return module


@cache
def _mixed(mixin: type[VolumeLayer], kind: type[nn.Module]) -> type[nn.Module]:
    return type(kind.__name__, (mixin, kind), {"__module__": kind.__module__})


def _blank(mixin: type[VolumeLayer], kind: type[nn.Module]) -> nn.Module:
    made = _mixed(mixin, kind)
    return made.__new__(made)


class Folded(VolumeLayer):
    """A layer that reads each position alone, or all alike: depth and height are given to it as one axis."""

    def forward(self, x: Tensor, *args: object, **kwargs: object) -> Tensor:
        return super().forward(x.flatten(2, 3), *args, **kwargs).unflatten(2, x.shape[2:4])


class Translated(VolumeLayer):
    """A module whose forward calls functions on images between its layers; ``VolumeFunctions`` replaces them."""

    def forward(self, *args: object, **kwargs: object) -> object:
        depth = args[0].shape[2] if args and isinstance(args[0], Tensor) and args[0].dim() == 5 else 0
        with VolumeFunctions(self.depth_padding, depth, flat=self.flat):
            return super().forward(*args, **kwargs)


# ---- convolutions ----------------------------------------------------------------------------------------------------


def convert_conv(conv: nn.Conv2d, how: str, depth_padding: str) -> SafeConv3d | ACSConv3d:
    """Return the 3D convolution in place of ``conv``, or of a class of timm's derived from it, with its weights."""
    if conv.padding_mode != "zeros":
        raise ConversionError(f"a convolution with padding_mode={conv.padding_mode!r} is not known, only 'zeros'")
    kernel, padding = conv.kernel_size, _padding(conv)
    with torch.device("meta"):
        new = SafeConv3d(
            conv.in_channels,
            conv.out_channels,
            layer_axes(kernel),
            layer_axes(conv.stride),
            layer_axes(padding),
            layer_axes(conv.dilation),
            conv.groups,
            conv.bias is not None,
            depth_padding=depth_padding,
        )
        if how not in ("i3d", "centre"):
            new = conv_in_planes(new, how)
    flat = how == "2.5d"
    weight = (
        conv.weight if how == "acs" else inflate_kernel(conv.weight, 1 if flat else kernel[0], "i3d" if flat else how)
    )
    new.weight, new.bias = nn.Parameter(weight.clone(), conv.weight.requires_grad), conv.bias
    return new


def conv_in_planes(conv: nn.Conv3d, how: str) -> SafeConv3d | ACSConv3d:
    """Return a convolution with flat kernels in place of the cubic ``conv``; its weights are fresh."""
    kernel, padding, dilation = conv.kernel_size[1:], conv.padding[1:], conv.dilation[1:]
    ends = conv.in_channels, conv.out_channels
    bias = conv.bias is not None
    if how == "acs":
        repeat = getattr(conv, "depth_padding", "zeros")
        return ACSConv3d(*ends, kernel, conv.stride, padding, dilation, conv.groups, bias, depth_padding=repeat)
    return SafeConv3d(*ends, (1, *kernel), conv.stride, (0, *padding), (1, *dilation), conv.groups, bias)


def _padding(conv: nn.Conv2d) -> tuple[int, int]:
    if conv.padding == "valid":
        return (0, 0)
    if conv.padding == "same":
        spans = [dilation * (kernel - 1) for kernel, dilation in zip(conv.kernel_size, conv.dilation, strict=True)]
        if any(span % 2 for span in spans):
            raise ConversionError("a convolution with padding='same' and an even kernel pads its two ends unequally")
        return tuple(span // 2 for span in spans)
    return conv.padding


class SamePadded(VolumeLayer):
    """A convolution that pads its input as TensorFlow's 'SAME' does."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride, dilation = self.kernel_size, self.stride, self.dilation
        if isinstance(self, ACSConv3d):
            kernel, stride, dilation = layer_axes(kernel), (self.depth_stride, *stride), layer_axes(dilation)
        return super().forward(pad_same(x, kernel, stride, dilation, self.depth_padding))


class Standardised(VolumeLayer):
    """A convolution whose kernels, summed over depth, are scaled to mean 0 and variance 1 as those of images are.

    Attributes ``eps`` and, of scaled ones, ``gain`` (O, 1, 1, 1) and ``scale`` are those of timm's layer.
    """

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        flat = weight.sum(2) if weight.dim() == 5 else weight
        slices = weight.shape[2] if weight.dim() == 5 else 1
        variance, mean = torch.var_mean(flat.flatten(1), 1, correction=0)
        factor = torch.rsqrt(variance + self.eps)
        if hasattr(self, "gain"):
            factor = factor * (self.gain * self.scale).flatten()
        shape = (-1, *[1] * (weight.dim() - 1))
        return super()._conv_forward(x, (weight - mean.view(shape) / slices) * factor.view(shape), bias)


def convert_same_conv(conv: nn.Conv2d, how: str, depth_padding: str) -> nn.Module:
    """Convert a Conv2dSame."""
    return with_mixin(convert_conv(conv, how, depth_padding), SamePadded)


def convert_standardised_conv(conv: nn.Conv2d, how: str, depth_padding: str) -> nn.Module:
    """Convert one of timm's convolutions with weight standardisation."""
    new = with_mixin(convert_conv(conv, how, depth_padding), Standardised)
    new.eps = conv.eps
    if hasattr(conv, "gain"):
        new.gain, new.scale = conv.gain, conv.scale
    return with_mixin(new, SamePadded) if getattr(conv, "same_pad", False) else new


def _transposed_conv(conv: nn.ConvTranspose2d, how: str, depth_padding: str) -> nn.Module:
    """Convert a transposed convolution whose kernels do not overlap: every slice is repeated ``stride`` times."""
    kernel, stride = layer_axes(conv.kernel_size), layer_axes(conv.stride)
    plain = conv.padding == conv.output_padding == (0, 0) and conv.dilation == (1, 1)
    if conv.kernel_size != conv.stride or not plain:
        raise ConversionError(f"{conv} is not known, only transposed convolutions whose stride is their kernel")
    if how == "acs":
        raise ConversionError("a transposed convolution has no ACS counterpart")
    if how == "2.5d":
        raise ConversionError("a transposed convolution has no flat counterpart that makes slices")
    new = nn.ConvTranspose3d(
        conv.in_channels, conv.out_channels, kernel, stride, groups=conv.groups, bias=conv.bias is not None
    )
    # Each slice is made by one slice of the kernel, so that 'i3d' and 'centre' are the same: copies.
    new.weight, new.bias = nn.Parameter(conv.weight.unsqueeze(2).repeat(1, 1, kernel[0], 1, 1)), conv.bias
    return new


# ---- pools, resizing, padding ----------------------------------------------------------------------------------------


def _max_pool(pool: nn.MaxPool2d, how: str, depth_padding: str) -> nn.Module:
    sizes = (layer_axes(size) for size in (pool.kernel_size, pool.stride, pool.padding, pool.dilation))
    return nn.MaxPool3d(*sizes, pool.return_indices, pool.ceil_mode)


def _avg_pool(pool: nn.AvgPool2d, how: str, depth_padding: str) -> nn.Module:
    kernel, stride, padding = (layer_axes(size) for size in (pool.kernel_size, pool.stride, pool.padding))
    if any(padding) and pool.divisor_override is None:
        return PaddedAvgPool3d(kernel, stride, padding, pool.ceil_mode, pool.count_include_pad, depth_padding)
    if any(padding) and depth_padding == "replicate":
        raise ConversionError(f"{pool} is not known with depth_padding='replicate', for it has a divisor of its own")
    divisor = None if pool.divisor_override is None else pool.divisor_override * kernel[0]
    return nn.AvgPool3d(kernel, stride, padding, pool.ceil_mode, pool.count_include_pad, divisor)


class PaddedAvgPool3d(nn.AvgPool3d):
    """Average pooling that pads depth with zeros or copies of the outermost slices, and takes inputs of any size."""

    def __init__(self, *args: object):
        *others, self.depth_padding = args
        super().__init__(*others)

    def forward(self, x: Tensor) -> Tensor:
        sizes = self.kernel_size, self.stride, self.padding
        return avg_pool3d(x, *sizes, self.depth_padding, self.ceil_mode, self.count_include_pad)


class SamePool3d(nn.Module):
    """Pooling 'max' or 'avg' with TensorFlow's 'SAME' padding, of the (H, W) sizes of a timm layer."""

    def __init__(self, pool: nn.MaxPool2d | nn.AvgPool2d, kind: str, depth_padding: str):
        super().__init__()
        self.kind, self.depth_padding, self.ceil_mode = kind, depth_padding, pool.ceil_mode
        self.kernel_size, self.stride = layer_axes(pool.kernel_size), layer_axes(pool.stride)
        self.dilation = layer_axes(getattr(pool, "dilation", 1))

    def forward(self, x: Tensor) -> Tensor:
        value = -torch.inf if self.kind == "max" else 0
        x = pad_same(x, self.kernel_size, self.stride, self.dilation, self.depth_padding, value)
        if self.kind == "max":
            return F.max_pool3d(x, self.kernel_size, self.stride, 0, self.dilation, self.ceil_mode)
        return F.avg_pool3d(x, self.kernel_size, self.stride, 0, self.ceil_mode)


def convert_same_pool(kind: str) -> Callable:
    """Return the converter of timm's AvgPool2dSame or MaxPool2dSame."""
    return lambda pool, how, depth_padding: SamePool3d(pool, kind, depth_padding)


def _adaptive_avg_pool(pool: nn.AdaptiveAvgPool2d, how: str, depth_padding: str) -> nn.Module:
    return nn.AdaptiveAvgPool3d((1, *_pair(pool.output_size)))


def _adaptive_max_pool(pool: nn.AdaptiveMaxPool2d, how: str, depth_padding: str) -> nn.Module:
    return nn.AdaptiveMaxPool3d((1, *_pair(pool.output_size)), pool.return_indices)


def _upsample(layer: nn.Upsample, how: str, depth_padding: str) -> nn.Module:
    modes = {"nearest": "nearest", "nearest-exact": "nearest-exact", "bilinear": "trilinear"}
    if layer.mode not in modes or layer.size is not None:
        raise ConversionError(f"{layer} is not known, only nearest and bilinear to a multiple of the size")
    return nn.Upsample(None, layer_axes(layer.scale_factor), modes[layer.mode], layer.align_corners)


class VolumePad(nn.Module):
    """Padding (left, right, top, bottom) of images, with the slices padded as the rows are.

    In depth, slices are zeros if ``depth_padding`` is 'zeros' and the rows are padded with zeros, else copies of the
    outermost, which works for any number of slices.
    """

    def __init__(self, padding: tuple[int, int, int, int], mode: str, value: float, depth_padding: str):
        super().__init__()
        self.padding, self.mode, self.value = tuple(padding), mode, value
        self.depth_padding = depth_padding if mode == "constant" else "replicate"

    def forward(self, x: Tensor) -> Tensor:
        x = pad_depth(x, *self.padding[2:], self.depth_padding)
        if self.mode != "reflect":
            return F.pad(x, (*self.padding, 0, 0), self.mode, self.value)
        return F.pad(x.flatten(1, 2), self.padding, "reflect").unflatten(1, x.shape[1:3])


def _pad_layer(mode: str) -> Callable:
    return lambda layer, how, depth_padding: VolumePad(
        layer.padding, mode, getattr(layer, "value", None), depth_padding
    )


def _permute(layer: Permute, how: str, depth_padding: str) -> nn.Module:
    orders = {(0, 2, 3, 1): [0, 2, 3, 4, 1], (0, 3, 1, 2): [0, 4, 1, 2, 3]}  # channels to the end, and back
    if tuple(layer.dims) not in orders:
        raise ConversionError(f"the order {layer.dims} of axes is not known")
    return Permute(orders[tuple(layer.dims)])


def _pair(size: int | tuple) -> tuple:
    return tuple(size) if isinstance(size, list | tuple) else (size, size)


LAYERS = {
    nn.Conv2d: convert_conv,
    wrappers.Conv2d: convert_conv,
    nn.ConvTranspose2d: _transposed_conv,
    nn.MaxPool2d: _max_pool,
    wrappers.MaxPool2d: _max_pool,
    nn.AvgPool2d: _avg_pool,
    nn.AdaptiveAvgPool2d: _adaptive_avg_pool,
    nn.AdaptiveMaxPool2d: _adaptive_max_pool,
    nn.Upsample: _upsample,
    nn.UpsamplingNearest2d: _upsample,
    nn.UpsamplingBilinear2d: _upsample,
    nn.ZeroPad2d: _pad_layer("constant"),
    nn.ConstantPad2d: _pad_layer("constant"),
    nn.ReplicationPad2d: _pad_layer("replicate"),
    nn.ReflectionPad2d: _pad_layer("reflect"),
    Permute: _permute,
}
