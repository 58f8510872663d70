"""PictureEncoder: a 2D network of torchvision or timm as a backbone of pictures with any number of channels.

Shapes are (N, C, H, W).
"""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from vdt3d.models.backbones.convert2d import picture_network
from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.inflate.kernels import COLOURS
from vdt3d.registry import MODELS

SIDE = 192  # of the picture by which features are found: halved five times it stays even


@MODELS.register_module()
class PictureEncoder(BaseModule):
    """The last maps of a 2D network at each resolution, finest first: what decoders are built upon.

    State-dict keys are ``network.`` and the key of the 2D network, so ``load_from`` takes its 2D checkpoints.

    Args:
        model: 'torchvision.NAME' or 'timm.NAME' (the package must be installed).
        in_channels: of the pictures.
        out_indices: which of the features to return; all when left out.
        init_cfg: how to initialise it.

    Raises:
        ValueError: there is no such network, feature, or map whose sizes are the picture's, divided.
    """

    def __init__(
        self,
        model: str,
        *,
        in_channels: int = COLOURS,
        out_indices: Sequence[int] | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        network = picture_network(model)
        take_channels(network, in_channels)
        if model.startswith("torchvision."):
            network = with_stages(network, in_channels)
        infos = announced(network, in_channels)
        chosen = range(len(infos)) if out_indices is None else sorted(out_indices)
        if not infos or not set(chosen) <= set(range(len(infos))):
            raise ValueError(f"out_indices={out_indices}: {model} has {len(infos)} features, counted from 0")
        self.network, self.out_indices = network, tuple(chosen)
        self.feature_info = tuple(infos[index] for index in chosen)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The features that ``feature_info`` announces, of (N, ``in_channels``, H, W)."""
        maps = _maps(self.network(x))
        return tuple(maps[index] for index in self.out_indices)


def take_channels(network: nn.Module, in_channels: int) -> None:
    """Give the convolutions that read the picture fresh kernels for ``in_channels``, in place.

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


def with_stages(network: nn.Module, in_channels: int) -> nn.Module:
    """A network that returns its last map at each resolution, without the layers behind the last of them."""
    names = get_graph_node_names(network, suppress_diff_warning=True)[0][1:]  # the first is the input
    everything = create_feature_extractor(network, names, suppress_diff_warning=True)
    last = {
        stride: name
        for name, value in _answer(everything, in_channels).items()
        if isinstance(value, Tensor) and value.dim() == 4 and (stride := _stride(value)) is not None
    }
    return create_feature_extractor(network, list(last.values()), suppress_diff_warning=True)


def announced(network: nn.Module, in_channels: int) -> tuple[FeatureInfo, ...]:
    """What a 2D network returns, as a picture shows.

    Raises:
        ValueError: it returns something else than maps whose sizes are the picture's, divided.
    """
    maps = _maps(_answer(network, in_channels))
    strides = [_stride(features) for features in maps]
    if None in strides:
        sizes = [tuple(features.shape) for features in maps]
        raise ValueError(f"{type(network).__name__} answers {sizes} to a picture of {SIDE} x {SIDE}: no maps of it")
    return tuple(
        FeatureInfo(f"feature{index}", features.shape[1], (1, stride, stride))
        for index, (features, stride) in enumerate(zip(maps, strides, strict=True))
    )


def _answer(network: nn.Module, in_channels: int) -> object:
    training = {module: module.training for module in network.modules()}
    try:
        network.eval()  # which of mmsegmentation's networks returns nothing
        with torch.no_grad():
            return network(torch.zeros(1, in_channels, SIDE, SIDE))
    finally:
        for module, mode in training.items():
            module.training = mode


def _maps(answer: Tensor | Sequence[Tensor] | dict[str, Tensor]) -> list[Tensor]:
    if isinstance(answer, Tensor):
        return [answer]
    return list(answer.values() if isinstance(answer, dict) else answer)


def _stride(features: Tensor) -> int | None:
    """Of a map of the picture; None of what is none: a vector, a map that was cut, one with its channels at the end."""
    height, width = features.shape[2:]
    return SIDE // height if height == width > 1 and SIDE % height == 0 else None
