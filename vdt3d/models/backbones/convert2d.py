"""Any 2D network as a backbone of volumes: of torchvision, of timm, or registered by mmpretrain.

Shapes are (N, C, D, H, W).
"""

from collections.abc import Sequence
from copy import deepcopy

import torch
import torchvision
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from vdt3d.models.backbones.feature_info import FeatureInfo
from vdt3d.models.inflate.modules import (
    PROBE,
    ChannelNorm3d,
    ConversionError,
    NormAct3d,
    PictureFunctionsRefused,
    ReplicatingAvgPool3d,
    exchanged,
    fit_first_conv,
    probe,
)
from vdt3d.models.layers.acs_conv import ACSConv3d
from vdt3d.models.layers.safe_conv import SafeConv3d
from vdt3d.registry import MODELS

LEAVES = {"leaf_modules": [SafeConv3d, ACSConv3d, ChannelNorm3d, NormAct3d, ReplicatingAvgPool3d]}


@MODELS.register_module()
class Convert2d(BaseModule):
    """A 2D network turned into 3D by ``to_3d``; its features are its last maps at each resolution.

    State-dict keys are ``network.`` and the key of the 2D network, so ``load_from`` takes its 2D checkpoints.

    Args:
        model: 'torchvision.NAME', 'timm.NAME' (the package must be installed), or the config of a registered 2D
            backbone that returns a tuple of maps.
        how: 'i3d', 'centre', 'acs' or '2.5d'.
        in_channels: of the volumes.
        out_indices: which of the features to return, the finest first; all when left out.
        depth_padding: 'zeros' or 'replicate'.
        rgb: 'sum' or 'mean': how the first convolution's colours become one channel.

    Raises:
        ConversionError: the network, or a part of it, cannot be converted; the message names it.
        ValueError: an argument is none of the accepted.
    """

    def __init__(
        self,
        model: str | dict,
        how: str = "i3d",
        *,
        in_channels: int = 1,
        out_indices: Sequence[int] | None = None,
        depth_padding: str = "zeros",
        rgb: str = "sum",
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        self.how = how
        network = exchanged(picture_network(model), how, depth_padding=depth_padding)
        channels = fit_first_conv(network, in_channels, rgb)
        if isinstance(model, str) and model.startswith("torchvision."):
            network = with_features(network, channels)
        maps = _maps(probe(network, channels))
        if any(_stride(features) is None for features in maps):
            raise ConversionError(f"{model} has maps of {[tuple(m.shape[2:]) for m in maps]} for an input of {PROBE}")
        chosen = range(len(maps)) if out_indices is None else sorted(out_indices)
        if not set(chosen) <= set(range(len(maps))):
            raise ValueError(f"out_indices={list(chosen)}, but {model} has the features 0 to {len(maps) - 1}")
        self.network, self.out_indices = network, tuple(chosen)
        self.feature_info = tuple(
            FeatureInfo(f"feature{index}", maps[index].shape[1], _stride(maps[index])) for index in chosen
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The features that ``feature_info`` announces, of (N, ``in_channels``, D, H, W)."""
        maps = _maps(self.network(x))
        return tuple(maps[index] for index in self.out_indices)


def picture_network(model: str | dict) -> nn.Module:
    """The 2D network of a name or a config, with fresh weights.

    Raises:
        ValueError: there is none of this name.
    """
    if not isinstance(model, str):
        return MODELS.build(model)
    package, _, name = model.partition(".")
    if package == "torchvision" and name in torchvision.models.list_models(torchvision.models):
        return torchvision.models.get_model(name, weights=None)
    if package == "timm":
        import timm  # an extra, asked for by name

        if name in timm.list_models():
            return timm.create_model(name, pretrained=False, features_only=True)
    raise ValueError(
        f"model={model!r}: say 'torchvision.NAME' or 'timm.NAME' with a name that package lists, or a config"
    )


def with_features(network: nn.Module, channels: int) -> nn.Module:
    """A network that returns its last map at each resolution, without the layers behind the last of them.

    Raises:
        ConversionError: it calls a function of pictures before its last convolution, or has no such maps.
    """
    train_names, names = get_graph_node_names(network, LEAVES, suppress_diff_warning=True)
    names = [name for name in names[1:] if name in train_names]  # the first is the input
    everything = create_feature_extractor(network, names, tracer_kwargs=LEAVES, suppress_diff_warning=True)
    last = {}
    for name, value in _values(everything, channels).items():
        if isinstance(value, Tensor) and value.dim() == 5 and (stride := _stride(value)) is not None:
            last[stride] = name
    if not last:
        raise ConversionError(f"{type(network).__name__} has no maps whose sizes are the input's, halved")
    return create_feature_extractor(network, list(last.values()), tracer_kwargs=LEAVES, suppress_diff_warning=True)


def _values(extractor: GraphModule, channels: int) -> dict[str, object]:
    """What each node of ``extractor`` that it returns has for a value, as far as the convolutions go."""
    shadow = deepcopy(extractor).to("meta").eval()
    nodes = list(shadow.graph.nodes)
    names = {node: name for name, node in nodes[-1].args[0].items()}
    convs = [isinstance(node.target, str) and _is_conv(shadow, node) for node in nodes]
    interpreter, values = Interpreter(shadow), {}
    interpreter.args_iter = iter([torch.zeros(1, channels, *PROBE, device="meta")])
    with torch.no_grad(), PictureFunctionsRefused():
        for index, node in enumerate(nodes[:-1]):
            try:
                interpreter.env[node] = interpreter.run_node(node)
            except (ConversionError, RuntimeError) as error:
                if any(convs[index:]):
                    raise ConversionError(
                        f"'{names.get(node, node.name)}' does not work on volumes: {error}"
                    ) from error
                break  # a classifier, which is not asked for
            if node in names:
                values[names[node]] = interpreter.env[node]
    return values


def _is_conv(network: nn.Module, node: Node) -> bool:
    return node.op == "call_module" and isinstance(network.get_submodule(node.target), SafeConv3d | ACSConv3d)


def _maps(answer: Tensor | Sequence[Tensor] | dict[str, Tensor]) -> list[Tensor]:
    if isinstance(answer, Tensor):
        return [answer]
    return list(answer.values() if isinstance(answer, dict) else answer)


def _stride(features: Tensor) -> tuple[int, int, int] | None:
    """The stride of a map of the probe, per axis; None for one whose sizes do not divide the probe's."""
    sizes = features.shape[2:]
    if any(size < 2 or whole % size for whole, size in zip(PROBE, sizes, strict=True)):
        return None  # pooled to a vector, or cut
    return tuple(whole // size for whole, size in zip(PROBE, sizes, strict=True))
