"""Any 2D convolutional network as a 3D one with its weights: every layer of images exchanged for one of volumes."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torchvision.models.convnext import CNBlock

from vdt3d.models.inflate.functions import ConversionError, PictureFunctionsRefused, least_depth
from vdt3d.models.inflate.kernels import COLOURS, fit_input_channels
from vdt3d.models.inflate.layers import LAYERS, Folded, Standardised, VolumeLayer, conv_in_planes, with_mixin
from vdt3d.models.inflate.timm_layers import BLOCKS, LEAVES, SpaceToDepth3d, timm_class
from vdt3d.models.layers.acs_conv import ACSConv3d
from vdt3d.models.layers.safe_conv import SafeConv3d, check_depth_padding
from vdt3d.models.probing import probe_copy

METHODS = ("i3d", "centre", "acs", "2.5d")
PROBE = (192, 192, 192)  # halved five times it stays even
RELATIVES = {nn.BatchNorm2d: nn.BatchNorm3d, nn.InstanceNorm2d: nn.InstanceNorm3d, nn.Dropout2d: nn.Dropout3d}


def to_3d(
    network: nn.Module,
    how: str,
    *,
    depth_padding: str = "zeros",
    in_channels: int | None = None,
    rgb: str = "sum",
) -> nn.Module:
    """Return a 3D copy of a 2D network, weights and statistics included, for inputs (N, C, D, H, W).

    Convolutions become cubic, filled by 'i3d' or 'centre', or ACS convolutions, or flat ones ('2.5d'); strides and
    poolings act along depth as along height. Adaptive poolings to (H, W) pool to (1, H, W), so that a classifier
    behind them fits as before. With ``depth_padding='replicate'`` the output for a stack of equal slices is that of
    the 2D network for the slice ('i3d', 'centre', '2.5d'; ACS reads other planes too and cannot).

    Args:
        how: 'i3d', 'centre', 'acs' or '2.5d'.
        in_channels: of the result; the first convolution is fitted (``fit_input_channels``). As before when left out.
        rgb: 'sum' or 'mean': how colours become one channel.

    Raises:
        ConversionError: a layer, or a function called in a ``forward``, has no known 3D counterpart; the message
            contains its name and class.
        ValueError: ``how``, ``depth_padding`` or ``in_channels`` is not supported. The result raises it for inputs
            with too few slices; the message contains the least number.
    """
    if getattr(network, "output_fmt", "NCHW") == "NHWC":
        raise ConversionError(
            f"{type(network).__name__} returns features with the channels last, but volumes are (N, C, D, H, W): "
            "use Convert2d, which moves the channels"
        )
    network = exchanged(network, how, depth_padding=depth_padding)
    probe(network, fit_first_conv(network, in_channels, rgb))
    return with_mixin(network, VolumeNetwork)


def exchanged(network: nn.Module, how: str, *, depth_padding: str = "zeros") -> nn.Module:
    """``to_3d`` without a look at the functions that are called between the layers, and with the channels as they are.

    Raises:
        ConversionError: a layer has no known counterpart.
    """
    if how not in METHODS:
        raise ValueError(f"how={how!r} is none of {', '.join(METHODS)}")
    check_depth_padding(depth_padding)
    try:
        with torch.no_grad():
            return _exchange("", deepcopy(network), how, depth_padding)
    except ConversionError as error:
        raise ConversionError(f"{error}. {_remedy(network)}") from None


def fit_first_conv(network: nn.Module, in_channels: int | None, rgb: str = "sum") -> int:
    """Fit the layers that read the network's input to ``in_channels`` and return how many they take then.

    They are the first convolution and, where that reads colours, all others of three channels: some networks read their
    input by several branches. Standardised kernels, and layers that make channels of positions, stay as they are and
    read the colours that ``Colours`` makes.

    Raises:
        ConversionError: there is none, or it has groups.
    """
    if first := next((m for m in network.modules() if isinstance(m, SpaceToDepth3d)), None):
        return _read_colours(first, COLOURS, in_channels, rgb)
    convs = [m for m in network.modules() if isinstance(m, SafeConv3d | ACSConv3d)]
    if not convs:
        raise ConversionError(f"{type(network).__name__} has no convolution. {_remedy(network)}")
    before = convs[0].in_channels
    if in_channels in (None, before):
        return before
    if before not in (1, COLOURS):
        raise ConversionError(
            f"the first convolution of {type(network).__name__} reads {before} channels, which another layer makes of "
            f"an image's colours, and cannot be fitted to {in_channels}. {_remedy(network)}"
        )
    if convs[0].groups != 1:
        raise ConversionError(f"the first convolution of {type(network).__name__} has groups: leave in_channels out")
    for conv in [convs[0], *(conv for conv in convs[1:] if (conv.in_channels, conv.groups) == (COLOURS, 1))]:
        if conv.in_channels != before:
            continue
        if isinstance(conv, Standardised):
            _read_colours(conv, before, in_channels, rgb)
        else:
            conv.weight = nn.Parameter(fit_input_channels(conv.weight.detach(), in_channels, rgb))
            conv.in_channels = in_channels
    return in_channels


def exchange_volume_convs(network: nn.Module, how: str) -> None:
    """Exchange, in place, the cubic convolutions of a 3D network for 'acs' or flat '2.5d' ones with fresh weights."""
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Conv3d):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, conv_in_planes(module, how))


def probe(network: nn.Module, in_channels: int) -> object:
    """Return the output of a 3D ``network`` for (1, C, 192, 192, 192), in tensors that have a shape and no content.

    Raises:
        ConversionError: a function on images is called, or sizes do not fit; the message names the module.
    """
    shadow = probe_copy(network, "meta")
    path: list[str] = []

    def leave(*_) -> None:  # no lambda: what a hook returns takes the place of the output
        path.pop()

    for name, module in shadow.named_modules():
        module.register_forward_pre_hook(lambda *_, name=name: path.append(name))
        module.register_forward_hook(leave)
    dtype = next((each.dtype for each in network.parameters() if each.is_floating_point()), None)
    try:
        with torch.no_grad(), PictureFunctionsRefused():
            return shadow(torch.zeros(1, in_channels, *PROBE, device="meta", dtype=dtype))
    except Exception as error:
        where = path[-1] if path else ""
        place = f"'{where}' ({type(shadow.get_submodule(where)).__name__}) in " if where else ""
        reason = str(error) if isinstance(error, ConversionError) else "its forward works on images only"
        raise ConversionError(
            f"{place}{type(network).__name__} does not work on volumes: {reason}. {_remedy(network)}"
        ) from error


def depth_error(network: nn.Module, x: object, error: RuntimeError) -> Exception:
    """Return the ValueError to raise where ``network`` failed with ``error`` because ``x`` has too few slices.

    Its message contains the least number of slices. If that is not the reason, ``error`` itself is returned.
    """
    if not isinstance(x, Tensor) or x.dim() != 5 or x.is_meta or isinstance(error, torch.OutOfMemoryError):
        return error
    least = least_depth(probe_copy(network, "meta"), tuple(x.shape))
    if least is None:
        return error
    return ValueError(
        f"an input of {x.shape[2]} slices for a network that needs at least {least} with {x.shape[3]} x {x.shape[4]}: "
        "pad or resample the volume, or choose a network with fewer strides"
    )


class VolumeNetwork(VolumeLayer):
    """A whole network that reports too few slices."""

    def forward(self, *args: object, **kwargs: object) -> object:
        try:
            return super().forward(*args, **kwargs)
        except RuntimeError as error:
            raise depth_error(self, args[0] if args else None, error)  # noqa: B904 it is ``error`` mostly


class Colours(VolumeLayer):
    """A layer that reads the three colours of images, given volumes of other channels.

    ``mix`` (3, channels) makes the colours, by the rule of ``fit_input_channels``.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.einsum("oc,ncdhw->nodhw", self.mix.to(x.dtype), x))


def _read_colours(layer: nn.Module, colours: int, in_channels: int | None, rgb: str) -> int:
    if in_channels in (None, colours):
        return colours
    layer.register_buffer("mix", fit_input_channels(torch.eye(colours), in_channels, rgb), persistent=False)
    with_mixin(layer, Colours)
    return in_channels


def _remedy(network: nn.Module) -> str:
    """Return what to do with a network that cannot be converted."""
    config = getattr(network, "pretrained_cfg", None) or {}
    if name := config.get("architecture"):
        return (
            f'Use it on windows of slices, WindowEncoder(model="timm.{name}"), or on single slices, '
            f'SliceEncoder(model="timm.{name}")'
        )
    return "Take the part of the network before it, or a similar network of timm or torchvision"


def _exchange(name: str, module: nn.Module, how: str, depth_padding: str) -> nn.Module:
    """Return the 3D counterpart of ``module``: by the tables, else itself with its children exchanged."""
    kind, timms = type(module), timm_class(module)
    try:
        if convert := LAYERS.get(kind) or LEAVES.get(timms):
            return convert(module, how, depth_padding).train(module.training)
        if kind.__name__ == "LayerNorm2d" and isinstance(module, nn.LayerNorm):
            return with_mixin(module, Folded)
        if kind in RELATIVES:
            module.__class__ = RELATIVES[kind]  # the same but for the number of axes, so state, mode and hooks stay
        elif _of_pictures(module):
            raise ConversionError(f"no 3D counterpart of a {kind.__module__}.{kind.__name__} is known")
        for child_name, child in module.named_children():
            setattr(module, child_name, _exchange(f"{name}.{child_name}".strip("."), child, how, depth_padding))
        if isinstance(module, CNBlock):
            module.layer_scale = nn.Parameter(module.layer_scale.unsqueeze(-1))
        if timms in BLOCKS:
            module.depth_padding, module.flat = depth_padding, how == "2.5d"
            BLOCKS[timms](module)
    except ConversionError as error:
        raise error if error.args[0].startswith("'") else ConversionError(f"'{name}': {error}") from None
    return module


def _of_pictures(module: nn.Module) -> bool:
    """Return whether it is a layer that torch has for images only, or of a class derived from one."""
    return any(
        kind.__module__.startswith("torch.nn.modules") and kind.__name__.endswith("2d") for kind in type(module).mro()
    )
