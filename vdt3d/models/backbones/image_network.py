"""2D networks of timm, torchvision and mmpretrain as encoders: their maps and the image sizes they take.

Images are (N, C, H, W).
"""

import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from timm.layers import ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from torch import Tensor, nn

from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.backbones.feature_maps import choose, picture_network, timm_network, with_features
from vdt3d.models.backbones.feature_probe import PROBE_SIDE, probe_features
from vdt3d.models.inflate.kernels import COLOURS
from vdt3d.models.probing import probe_copy

Size = tuple[int, int]  # (H, W)
FLEXIBLE = {"dynamic_img_size": True, "strict_img_size": False}  # arguments of timm's networks that allow other sizes
STANDARDISED = (StdConv2d, ScaledStdConv2d, StdConv2dSame, ScaledStdConv2dSame)
POSITIONS = ("pos_embed", "bias_table", "rel_pos")  # in names of parameters that are made for one image size
MAPS = 4  # of a network whose maps have one stride, as decoders expect them


@dataclass(frozen=True)
class SizeRule:
    """The image sizes that a network takes.

    Args:
        multiple: sides are padded with zeros at the end to a multiple of it.
        own: the size that the network was built for; images of it are not padded.
        fixed: whether the network takes its own size only.
    """

    multiple: int = 1
    own: Size | None = None
    fixed: bool = False

    def pad(self, images: Tensor, name: str) -> Tensor:
        """Return the images with their sides padded to ``multiple``.

        Raises:
            ValueError: the network takes another size only.
        """
        height, width = images.shape[-2:]
        if (height, width) == self.own:
            return images
        if self.fixed:
            raise ValueError(
                f"images of {height} x {width} pixels for {name}, which takes {self.own[0]} x {self.own[1]} only: "
                "resize in the pipeline (Resize3D), or set img_size if the network has this argument"
            )
        bottom, right = -height % self.multiple, -width % self.multiple
        return F.pad(images, (0, right, 0, bottom)) if bottom or right else images


@dataclass(frozen=True)
class ImageNetwork:
    """A 2D network that returns a list of maps.

    Args:
        network: with fresh weights.
        name: for messages.
        infos: the maps that are used, in the order of ``taken``.
        taken: their indices in the list that the network returns.
        sizes: the image sizes it takes.
        fits: functions that resize parameters of checkpoints for another image size, by the parameter's name.
        left_out: keys of the whole network's state dict that belong to layers which the maps do not need.
    """

    network: nn.Module
    name: str
    infos: tuple[FeatureInfo, ...]
    taken: tuple[int, ...]
    sizes: SizeRule = SizeRule()
    fits: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()


def image_network(
    model: str | dict,
    in_channels: int,
    *,
    out_indices: Sequence[int] | None = None,
    img_size: int | Sequence[int] | None = None,
) -> ImageNetwork:
    """Build a 2D network that returns its maps; layers that the maps do not need are left out.

    Args:
        model: 'timm.NAME', 'torchvision.NAME', ``dict(type='timm.NAME', ...)`` with arguments of timm's network, or the
            config of a registered 2D backbone that returns a tuple of maps.
        in_channels: of the images.
        out_indices: indices of the maps to return; negative ones count from the end. All when left out, except for
            networks of timm whose maps have the same stride: of these, four at equal distances.
        img_size: (H, W) or one number, for networks of timm that are built for one size; their own when left out.

    Raises:
        ValueError: the network, a map or the size does not exist; the maps are not those that timm announces.
    """
    name = model if isinstance(model, str) else model["type"]
    if name.startswith("timm."):
        return _timm_maps(model, name, in_channels, out_indices, img_size)
    if img_size is not None:
        raise ValueError(f"img_size={img_size}: {name} does not have this argument; leave it out")
    network = picture_network(model)
    take_channels(network, in_channels)
    if isinstance(model, str):
        network, numbers = with_features(network, (in_channels, PROBE_SIDE, PROBE_SIDE), out_indices)
        infos = probe_features(network, in_channels)
        taken = tuple(range(len(infos)))
    else:
        infos = probe_features(network, in_channels)
        taken = numbers = choose(out_indices, len(infos), name)
        infos = tuple(infos[index] for index in taken)
    infos = tuple(info._replace(name=f"feature{number}") for info, number in zip(infos, numbers, strict=True))
    return ImageNetwork(network, name, infos, taken)


def take_channels(network: nn.Module, in_channels: int) -> None:
    """Give the convolutions that read the image fresh kernels for ``in_channels``, in place.

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


# ---- timm ------------------------------------------------------------------------------------------------------------


def size_of(network: nn.Module, img_size: int | Sequence[int] | None = None) -> Size:
    """Return the (H, W) of ``img_size``, or of the images that a network of timm was pretrained with."""
    if img_size is None:
        return tuple(network.pretrained_cfg["input_size"][-2:])
    return (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)


def sized_network(
    model: str | dict, in_channels: int = COLOURS, img_size: int | Sequence[int] | None = None
) -> tuple[nn.Module, Size]:
    """Build a network of timm that takes as many image sizes as it can, without classifier; return its own size too.

    Args:
        model: 'timm.NAME' or ``dict(type='timm.NAME', ...)`` with arguments of timm's network.
        in_channels: of the images.
        img_size: that the network is built for.

    Raises:
        ValueError: timm does not have this network or argument.
    """
    name, config = _name_and_options(model)
    with torch.device("meta"):
        kinds = type(timm_network(name, **config)).__mro__
    known = {argument for kind in kinds for argument in inspect.signature(kind.__init__).parameters}
    options = {key: value for key, value in FLEXIBLE.items() if key in known}
    if img_size is not None and "img_size" in known:
        options["img_size"] = size_of(nn.Module(), img_size)
    network = timm_network(name, num_classes=0, in_chans=in_channels, **{**options, **config})
    return network, size_of(network, img_size or config.get("img_size"))


def can_inflate_input(model: str | dict) -> bool:
    """Return whether kernels for colours can spread over the slices of a window in every layer that reads the image.

    They cannot where timm's network standardises these kernels, or reads the image by other layers than convolutions.
    """
    name, config = _name_and_options(model)
    if not name.startswith("timm."):
        return True
    with torch.device("meta"):
        network = timm_network(name, **config)
    names = network.pretrained_cfg.get("first_conv") or ()
    layers = [network.get_submodule(each) for each in ([names] if isinstance(names, str) else names)]
    return bool(layers) and all(
        isinstance(layer, nn.Conv2d) and not isinstance(layer, STANDARDISED) and layer.in_channels == COLOURS
        for layer in layers
    )


def _name_and_options(model: str | dict) -> tuple[str, dict]:
    options = {"type": model} if isinstance(model, str) else dict(model)
    return options.pop("type"), options


def _timm_maps(
    model: str | dict,
    name: str,
    in_channels: int,
    out_indices: Sequence[int] | None,
    img_size: int | Sequence[int] | None,
) -> ImageNetwork:
    network, size = sized_network(model, in_channels, img_size)
    infos = [
        FeatureInfo(f"feature{number}", info["num_chs"], (1, info["reduction"], info["reduction"]))
        for number, info in enumerate(network.feature_info)
    ]
    copy = probe_copy(network, "meta")
    _return_intermediates(copy, range(len(infos)))
    numbers = _choose_maps(copy, name, in_channels, size, infos, out_indices)
    sizes = _size_rule(copy, in_channels, size, infos, numbers)
    fits, keys = _position_fits(network), set(network.state_dict())
    taken = network.prune_intermediate_layers(list(numbers), prune_norm=True)
    _return_intermediates(network, taken)
    chosen = tuple(infos[number] for number in numbers)
    return ImageNetwork(
        network, name, chosen, tuple(range(len(chosen))), sizes, fits, frozenset(keys - set(network.state_dict()))
    )


def _return_intermediates(network: nn.Module, indices: Sequence[int]) -> None:
    """Make a network of timm return its maps ``indices``, in place, by its own ``forward_intermediates``."""
    taken = list(indices)

    def forward(self: nn.Module, images: Tensor) -> list[Tensor]:
        return self.forward_intermediates(images, indices=taken, output_fmt="NCHW", intermediates_only=True)

    kind = type(network)
    network.__class__ = type(kind.__name__, (kind,), {"forward": forward})


def _choose_maps(
    network: nn.Module,
    name: str,
    in_channels: int,
    size: Size,
    infos: Sequence[FeatureInfo],
    out_indices: Sequence[int] | None,
) -> tuple[int, ...]:
    """Return the indices of the maps to use, which have the channels and the stride that timm announces.

    Args:
        network: a copy on the device "meta" that returns all its maps.
        out_indices: asked for; when left out, maps that differ from their announcement are left out.

    Raises:
        ValueError: the network fails at its own ``size``, or a map differs from its announcement.
    """
    try:
        shapes = _shapes(network, in_channels, size)
    except Exception as error:  # a forward can raise anything
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"{name} fails on images of {in_channels} channels and {size[0]} x {size[1]} pixels: {reason}"
        ) from error
    expected = _expected(infos, size)
    fitting = [number for number, shape in enumerate(shapes) if shape == expected[number]]
    if out_indices is None and fitting:
        out_indices = fitting
        if len(fitting) > MAPS and len({infos[number].stride for number in fitting}) == 1:
            out_indices = [fitting[len(fitting) * quarter // MAPS - 1] for quarter in range(1, MAPS + 1)]
    numbers = choose(out_indices, len(infos), name)
    for number in numbers:
        if number not in fitting:
            raise ValueError(
                f"{name}: {infos[number].name} has the shape {shapes[number]} (channels, H, W) for images of {size[0]} "
                f"x {size[1]} pixels, but timm announces {infos[number].channels} channels and a stride of "
                f"{infos[number].stride[2]}, which is {expected[number]}. "
                + (f"Choose out_indices among {fitting}" if fitting else "Choose another network")
            )
    return numbers


def _size_rule(
    network: nn.Module, in_channels: int, size: Size, infos: Sequence[FeatureInfo], numbers: Sequence[int]
) -> SizeRule:
    """Find by trial, without calculating, the image sizes at which a network returns maps as announced."""
    infos = [infos[number] for number in numbers]
    coarsest = max(info.stride[2] for info in infos)
    for multiple in (1, coarsest, 2 * coarsest, 4 * coarsest, max(size)):
        height, width = (-(-side // multiple) * multiple for side in size)
        larger = (height + multiple, width + 2 * multiple)
        try:
            shapes = _shapes(network, in_channels, larger)
        except Exception:  # a forward can raise anything
            continue
        if [shapes[number] for number in numbers] == _expected(infos, larger):
            return SizeRule(multiple, size)
    return SizeRule(own=size, fixed=True)


def _shapes(network: nn.Module, in_channels: int, size: Size) -> list[tuple[int, ...]]:
    with torch.no_grad():
        return [tuple(each.shape[1:]) for each in network(torch.zeros(1, in_channels, *size, device="meta"))]


def _expected(infos: Sequence[FeatureInfo], size: Size) -> list[tuple[int, ...]]:
    return [(info.channels, *(math.ceil(side / info.stride[2]) for side in size)) for info in infos]


def _position_fits(network: nn.Module) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return functions that resize position parameters of checkpoints as timm does when it loads pretrained weights."""
    refit = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    names = [name for name in network.state_dict() if any(part in name for part in POSITIONS)]
    return {} if refit is None else {name: partial(_refit, refit, network, name) for name in names}


def _refit(refit: Callable, network: nn.Module, name: str, value: Tensor) -> Tensor:
    return refit({name: value}, network).get(name, value)
