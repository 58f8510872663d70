"""Any 2D convolutional network as a 3D one with its weights: every layer of pictures exchanged for one of volumes."""

from copy import deepcopy
from functools import cache

import torch
from mmcv.cnn.bricks import wrappers
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchvision.models.convnext import CNBlock
from torchvision.ops import Permute

from vdt3d.models.inflate.kernels import COLOURS, fit_input_channels, inflate_kernel
from vdt3d.models.layers.acs_conv import ACSConv3d
from vdt3d.models.layers.safe_conv import SafeConv3d, check_depth_padding, replicate_depth
from vdt3d.models.probing import probe_copy

METHODS = ("i3d", "centre", "acs", "2.5d")
PROBE = (192, 192, 192)  # halved five times it stays even, and no size on the way is a usual number of channels
SPACE = {2, 3, 4}  # the axes of (N, C, D, H, W) that are space


class ConversionError(ValueError):
    """A network has a part whose 3D counterpart is not known."""


def to_3d(
    network: nn.Module,
    how: str,
    *,
    depth_padding: str = "zeros",
    in_channels: int | None = None,
    rgb: str = "sum",
) -> nn.Module:
    """A 3D copy of a 2D network, weights and statistics included, for inputs (N, C, D, H, W).

    Convolutions become cubic, filled by 'i3d' or 'centre', or ACS convolutions, or flat ones ('2.5d'); strides and
    poolings act along depth as along height. Adaptive poolings to (H, W) pool to (1, H, W), so that a classifier
    behind them fits as before. With ``depth_padding='replicate'`` a stack of equal slices is answered as the picture
    is, by the whole network ('i3d', 'centre', '2.5d'; ACS looks along other planes too and cannot).

    Args:
        how: 'i3d', 'centre', 'acs' or '2.5d'.
        in_channels: of the result; the first convolution is fitted (``fit_input_channels``). As before when left out.
        rgb: 'sum' or 'mean': how colours become one channel.

    Raises:
        ConversionError: a layer, or a function called in a ``forward``, has no known 3D counterpart; the message
            names it and where it is.
        ValueError: ``how``, ``depth_padding`` or ``in_channels`` is none of the accepted.
    """
    network = exchanged(network, how, depth_padding=depth_padding)
    probe(network, fit_first_conv(network, in_channels, rgb))
    return network


def exchanged(network: nn.Module, how: str, *, depth_padding: str = "zeros") -> nn.Module:
    """``to_3d`` without a look at the functions that are called between the layers, and with the channels as they are.

    Raises:
        ConversionError: a layer has no known counterpart.
    """
    if how not in METHODS:
        raise ValueError(f"how={how!r} is none of {', '.join(METHODS)}")
    check_depth_padding(depth_padding)
    with torch.no_grad():
        return _exchange("", deepcopy(network), how, depth_padding)


def fit_first_conv(network: nn.Module, in_channels: int | None, rgb: str = "sum") -> int:
    """Fit the convolutions that read the network's input to ``in_channels`` and return how many they take then.

    They are the first and, where that reads colours, all others of three channels: some networks read their input by
    several branches.

    Raises:
        ConversionError: there is none, or it has groups.
    """
    convs = [m for m in network.modules() if isinstance(m, SafeConv3d | ACSConv3d)]
    if not convs:
        raise ConversionError(f"{type(network).__name__} has no convolution")
    before = convs[0].in_channels
    if in_channels in (None, before):
        return before
    if convs[0].groups != 1:
        raise ConversionError(f"the first convolution of {type(network).__name__} has groups: leave in_channels out")
    for conv in [convs[0], *(conv for conv in convs[1:] if (conv.in_channels, conv.groups) == (COLOURS, 1))]:
        if conv.in_channels == before:
            conv.weight = nn.Parameter(fit_input_channels(conv.weight.detach(), in_channels, rgb))
            conv.in_channels = in_channels
    return in_channels


def exchange_volume_convs(network: nn.Module, how: str) -> None:
    """Exchange, in place, the cubic convolutions of a 3D network for 'acs' or flat '2.5d' ones with fresh weights."""
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Conv3d):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, _in_planes(module, how))


def probe(network: nn.Module, in_channels: int) -> object:
    """What a 3D ``network`` answers to (1, C, 192, 192, 192), in tensors that have a shape and no content.

    Raises:
        ConversionError: a function of pictures is called, or sizes do not fit; names the module it happens in.
    """
    shadow = probe_copy(network, "meta")
    path: list[str] = []

    def leave(*_) -> None:  # no lambda: what a hook returns takes the place of the output
        path.pop()

    for name, module in shadow.named_modules():
        module.register_forward_pre_hook(lambda *_, name=name: path.append(name))
        module.register_forward_hook(leave)
    try:
        with torch.no_grad(), PictureFunctionsRefused():
            return shadow(torch.zeros(1, in_channels, *PROBE, device="meta"))
    except Exception as error:
        where = path[-1] if path else ""
        place = f"'{where}' ({type(shadow.get_submodule(where)).__name__}) in " if where else ""
        raise ConversionError(
            f"{place}{type(network).__name__} does not work on volumes: {str(error).splitlines()[0]}. Layers can be "
            "exchanged, functions that a forward calls between them cannot: take the part of the network before it, "
            "or its relative from torchvision"
        ) from error


class PictureFunctionsRefused(TorchFunctionMode):
    """Refuses functions that take two of a volume's three axes for the two of a picture."""

    REDUCTIONS = ("mean", "sum", "amax", "amin", "var", "std", "norm")

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if args and isinstance(args[0], Tensor) and args[0].dim() == 5:
            if name.endswith("2d") or name == "pixel_shuffle":
                raise ConversionError(f"it calls the function {name}")
            axes = kwargs.get("dim", args[1] if len(args) > 1 else None) if name in self.REDUCTIONS else None
            if isinstance(axes, list | tuple) and len({axis % 5 for axis in axes} & SPACE) == 2:
                raise ConversionError(f"it calls the function {name} over axes {tuple(axes)}")
        return func(*args, **kwargs)


# ---- layer by layer --------------------------------------------------------------------------------------------------


def _exchange(name: str, module: nn.Module, how: str, depth_padding: str) -> nn.Module:
    """The 3D counterpart of ``module``: by the tables where it is a layer, else itself with its children exchanged."""
    kind = type(module)
    try:
        if kind in LAYERS:
            return LAYERS[kind](module, how, depth_padding).train(module.training)
        if kind.__module__.startswith("timm.") and kind.__name__ in GATES:
            module.__class__ = _folding(kind)
            return module  # with its convolutions, which see one place alone
        if (relative := _relative(module)) is not None:
            module.__class__ = relative  # the same but for the number of axes, so state, mode and hooks stay
        elif _of_pictures(module):
            raise ConversionError(f"no 3D counterpart of a {kind.__module__}.{kind.__name__} is known")
    except ConversionError as error:
        raise ConversionError(f"'{name}': {error}") from None
    for child_name, child in module.named_children():
        setattr(module, child_name, _exchange(f"{name}.{child_name}".strip("."), child, how, depth_padding))
    if isinstance(module, CNBlock):
        module.layer_scale = nn.Parameter(module.layer_scale.unsqueeze(-1))
    return module


class ChannelNorm3d(nn.LayerNorm):
    """Layer norm over the channels of (N, C, D, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class NormAct3d(nn.BatchNorm3d):
    """Batch norm that ends in an activation, as timm has it."""

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(x)))


class ConvNeXtBlock3d(nn.Module):
    """A block of timm's ConvNeXt, whose own forward knows the axes of a picture by their numbers."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_dw(x)
        y = self.mlp(self.norm(y)) if self.use_conv_mlp else self.mlp(self.norm(y.movedim(1, -1))).movedim(-1, 1)
        if self.gamma is not None:
            y = y * self.gamma.view(-1, 1, 1, 1)
        return self.drop_path(y) + self.shortcut(x)


# timm's layers that gather over all places, however these lie, and scale channels by it
GATES = {"SqueezeExcite", "SEModule", "EffectiveSEModule", "EcaModule", "GlobalResponseNorm"}


class Folding:
    """Put before one of ``GATES``: two axes of the volume laid along one, so that it sees as many as a picture has."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(2, 3)).unflatten(2, x.shape[2:4])


@cache
def _folding(kind: type[nn.Module]) -> type[nn.Module]:
    return type(f"{kind.__name__}3d", (Folding, kind), {})


RELATIVES = {nn.BatchNorm2d: nn.BatchNorm3d, nn.InstanceNorm2d: nn.InstanceNorm3d, nn.Dropout2d: nn.Dropout3d}


def _relative(module: nn.Module) -> type[nn.Module] | None:
    if type(module).__name__ == "LayerNorm2d" and isinstance(module, nn.LayerNorm):
        return ChannelNorm3d
    if type(module).__name__ == "ConvNeXtBlock" and type(module).__module__.startswith("timm."):
        return ConvNeXtBlock3d
    if isinstance(module, nn.BatchNorm2d) and {"drop", "act"} <= dict(module.named_children()).keys():
        return NormAct3d
    return RELATIVES.get(type(module))


def _of_pictures(module: nn.Module) -> bool:
    """Whether it is a layer that torch has for pictures only, or a descendant of one."""
    return any(
        kind.__module__.startswith("torch.nn.modules") and kind.__name__.endswith("2d") for kind in type(module).mro()
    )


def _conv(conv: nn.Conv2d, how: str, depth_padding: str) -> nn.Module:
    if conv.padding_mode != "zeros":
        raise ConversionError(f"a convolution with padding_mode={conv.padding_mode!r} is not known, only 'zeros'")
    kernel, padding = conv.kernel_size, _padding(conv)
    with torch.device("meta"):
        new = SafeConv3d(
            conv.in_channels,
            conv.out_channels,
            _cubic(kernel),
            _cubic(conv.stride),
            _cubic(padding),
            _cubic(conv.dilation),
            conv.groups,
            conv.bias is not None,
            depth_padding=depth_padding,
        )
        if how not in ("i3d", "centre"):
            new = _in_planes(new, how)
    flat = how == "2.5d"
    weight = (
        conv.weight if how == "acs" else inflate_kernel(conv.weight, 1 if flat else kernel[0], "i3d" if flat else how)
    )
    new.weight, new.bias = nn.Parameter(weight.clone()), conv.bias
    return new


def _in_planes(conv: nn.Conv3d, how: str) -> nn.Module:
    """A fresh convolution for the place of the cubic ``conv``, whose kernels lie in planes."""
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


def _max_pool(pool: nn.MaxPool2d, how: str, depth_padding: str) -> nn.Module:
    sizes = (_cubic(size) for size in (pool.kernel_size, pool.stride, pool.padding, pool.dilation))
    return nn.MaxPool3d(*sizes, pool.return_indices, pool.ceil_mode)


def _avg_pool(pool: nn.AvgPool2d, how: str, depth_padding: str) -> nn.Module:
    kernel, stride, padding = (_cubic(size) for size in (pool.kernel_size, pool.stride, pool.padding))
    divisor = None if pool.divisor_override is None else pool.divisor_override * kernel[0]
    kind = ReplicatingAvgPool3d if depth_padding == "replicate" else nn.AvgPool3d
    return kind(kernel, stride, padding, pool.ceil_mode, pool.count_include_pad, divisor)


class ReplicatingAvgPool3d(nn.AvgPool3d):
    """Average pooling that repeats the first and the last slice where it would pad depth."""

    def __init__(self, kernel_size: tuple, stride: tuple, padding: tuple[int, int, int], *args):
        super().__init__(kernel_size, stride, (0, *padding[1:]), *args)
        self.slices = padding[0]

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(replicate_depth(x, self.slices))


def _adaptive_avg_pool(pool: nn.AdaptiveAvgPool2d, how: str, depth_padding: str) -> nn.Module:
    return nn.AdaptiveAvgPool3d((1, *_pair(pool.output_size)))


def _adaptive_max_pool(pool: nn.AdaptiveMaxPool2d, how: str, depth_padding: str) -> nn.Module:
    return nn.AdaptiveMaxPool3d((1, *_pair(pool.output_size)), pool.return_indices)


def _upsample(layer: nn.Upsample, how: str, depth_padding: str) -> nn.Module:
    modes = {"nearest": "nearest", "nearest-exact": "nearest-exact", "bilinear": "trilinear"}
    if layer.mode not in modes or layer.size is not None:
        raise ConversionError(f"{layer} is not known, only nearest and bilinear to a multiple of the size")
    return nn.Upsample(None, _cubic(layer.scale_factor), modes[layer.mode], layer.align_corners)


def _permute(layer: Permute, how: str, depth_padding: str) -> nn.Module:
    orders = {(0, 2, 3, 1): [0, 2, 3, 4, 1], (0, 3, 1, 2): [0, 4, 1, 2, 3]}  # channels to the end, and back
    if tuple(layer.dims) not in orders:
        raise ConversionError(f"the order {layer.dims} of axes is not known")
    return Permute(orders[tuple(layer.dims)])


def _pair(size: int | tuple) -> tuple:
    return tuple(size) if isinstance(size, list | tuple) else (size, size)


def _cubic(size: int | float | tuple) -> tuple:
    """(H, W) as (D, H, W): the depth as the height."""
    height, width = _pair(size)
    return height, height, width


LAYERS = {
    nn.Conv2d: _conv,
    wrappers.Conv2d: _conv,
    nn.MaxPool2d: _max_pool,
    wrappers.MaxPool2d: _max_pool,
    nn.AvgPool2d: _avg_pool,
    nn.AdaptiveAvgPool2d: _adaptive_avg_pool,
    nn.AdaptiveMaxPool2d: _adaptive_max_pool,
    nn.Upsample: _upsample,
    Permute: _permute,
}
