"""Networks of torchvision and timm as backbones: the network of a name, and the maps it has at each resolution.

Shapes are (N, C, D, H, W) of networks that were turned into 3D, or (N, C, H, W).
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy

import torch
import torchvision
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from vdt3d.models.inflate.modules import (
    ChannelNorm3d,
    ConversionError,
    NormAct3d,
    PictureFunctionsRefused,
    ReplicatingAvgPool3d,
)
from vdt3d.models.layers.acs_conv import ACSConv3d
from vdt3d.models.layers.safe_conv import SafeConv3d
from vdt3d.registry import MODELS

CONVS = (SafeConv3d, ACSConv3d, nn.Conv2d)
LEAVES = {"leaf_modules": [SafeConv3d, ACSConv3d, ChannelNorm3d, NormAct3d, ReplicatingAvgPool3d]}


def picture_network(model: str | dict) -> nn.Module:
    """The 2D network of a name or a config, with fresh weights; one of timm without its classifier.

    Raises:
        ValueError: there is none of this name, or its package is not installed.
    """
    if not isinstance(model, str):
        return MODELS.build(model)
    package, _, name = model.partition(".")
    if package == "torchvision" and name in torchvision.models.list_models(torchvision.models):
        return torchvision.models.get_model(name, weights=None)
    if package == "timm":
        try:
            import timm
        except ModuleNotFoundError as error:
            raise ValueError(f"model={model!r} is of a package that is not there: pip install timm") from error
        if timm.is_model(name):
            return _without_classifier(timm.create_model(name))
    raise ValueError(
        f"model={model!r}: say 'torchvision.NAME' or 'timm.NAME' with a name that package lists, or a config"
    )


def _without_classifier(network: nn.Module) -> nn.Module:
    """A network of timm whose ``forward`` is its ``forward_features``."""
    if hasattr(network, "pre_logits"):  # VGG's, which would have half a billion numbers more in 3D
        network.pre_logits = nn.Identity()
    kind = type(network)
    network.__class__ = type(kind.__name__, (kind,), {"forward": kind.forward_features})
    return network


def with_features(network: nn.Module, shape: Sequence[int]) -> nn.Module:
    """A network that returns its maps, without the layers behind the last of them.

    Which maps: those a network of timm announces; else, at each resolution, the last that no shortcut goes around.

    Args:
        shape: (C, D, H, W) or (C, H, W) of an input by which the maps are told: its sides are equal, can be halved five
            times, and are no usual number of channels.

    Raises:
        ConversionError: a 3D network calls a function of pictures before its last convolution; a network has no such
            maps, or its forward cannot be followed.
    """
    names = [info["module"] for info in getattr(network, "feature_info", ())]
    try:
        return _returning(names or _last_maps(network, shape), network)
    except ConversionError:
        raise
    except Exception as error:  # whatever a forward does with what is no tensor
        raise ConversionError(f"the forward of {type(network).__name__} cannot be followed: {error}") from error


def maps_of(answer: Tensor | Sequence[Tensor] | dict[str, Tensor]) -> list[Tensor]:
    """The maps that a network returns, in whatever it returns them."""
    if isinstance(answer, Tensor):
        return [answer]
    return list(answer.values() if isinstance(answer, dict) else answer)


def stride_of(features: Tensor, shape: Sequence[int]) -> int | None:
    """Of a map of an input of ``shape``, whose sides are equal; None of what is none: a vector, a map that was cut, one
    with its channels at the end.
    """
    sizes = set(features.shape[2:])
    if len(sizes) > 1 or min(sizes) < 2 or shape[-1] % min(sizes):
        return None
    return shape[-1] // min(sizes)


def _returning(names: list[str], network: nn.Module) -> GraphModule:
    return create_feature_extractor(network, names, tracer_kwargs=LEAVES, suppress_diff_warning=True)


def _last_maps(network: nn.Module, shape: Sequence[int]) -> list[str]:
    """The names of the maps at each resolution, behind which no node needs one of those before."""
    train_names, names = get_graph_node_names(network, LEAVES, suppress_diff_warning=True)
    names = [name for name in names[1:] if name in train_names]  # the first is the input
    shadow = deepcopy(_returning(names, network)).to("meta").eval()
    *nodes, output = shadow.graph.nodes
    named = {node: name for name, node in output.args[0].items()}
    place = {node: index for index, node in enumerate(nodes)}
    last, needed = {}, 0  # needed: the place of the last node that is fed any of the maps so far
    for node, value in _values(shadow, nodes, shape):
        if isinstance(value, Tensor) and value.dim() == 1 + len(shape):
            if node in named and place[node] >= needed and (stride := stride_of(value, shape)) is not None:
                last[stride] = named[node]
            needed = max([needed, *(place[user] for user in node.users if user is not output)])
    if not last:
        raise ConversionError(f"{type(network).__name__} has no maps whose sizes are the input's, halved")
    return list(last.values())


def _values(network: GraphModule, nodes: Sequence[Node], shape: Sequence[int]) -> Iterator[tuple[Node, object]]:
    """The value of each node, in tensors that have a shape and no content, as far as the convolutions go."""
    convs = [isinstance(node.target, str) and _is_conv(network, node) for node in nodes]
    interpreter = Interpreter(network)
    interpreter.args_iter = iter([torch.zeros(1, *shape, device="meta")])
    for index, node in enumerate(nodes):
        try:
            with torch.no_grad(), PictureFunctionsRefused():
                interpreter.env[node] = interpreter.run_node(node)
        except (ConversionError, RuntimeError) as error:
            if any(convs[index:]):
                raise ConversionError(f"'{node.name}' does not work on volumes: {error}") from error
            return  # a classifier, which is not asked for
        yield node, interpreter.env[node]


def _is_conv(network: nn.Module, node: Node) -> bool:
    return node.op == "call_module" and isinstance(network.get_submodule(node.target), CONVS)
