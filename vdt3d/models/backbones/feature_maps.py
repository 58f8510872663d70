"""Networks of torchvision and timm as backbones: the network of a name, and the maps it has at each resolution.

Shapes are (N, C, D, H, W) of networks that were turned into 3D, or (N, C, H, W).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

import timm
import torch
import torchvision
from timm.models import FeatureInfo
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Interpreter, Node, Proxy, Tracer, map_arg
from torchvision.models.swin_transformer import ShiftedWindowAttention

from vdt3d.models.inflate.functions import ConversionError, PictureFunctionsRefused
from vdt3d.models.inflate.layers import PaddedAvgPool3d, SamePool3d, VolumeLayer, VolumePad
from vdt3d.models.layers.acs_conv import ACSConv3d
from vdt3d.models.layers.safe_conv import SafeConv3d
from vdt3d.models.probing import probe_copy
from vdt3d.registry import MODELS

CONVS = (SafeConv3d, ACSConv3d, nn.Conv2d)
OPS = [kind for kind in vars(torchvision.ops).values() if isinstance(kind, type) and issubclass(kind, nn.Module)]
LEAVES = (*OPS, SafeConv3d, ACSConv3d, VolumeLayer, PaddedAvgPool3d, SamePool3d, VolumePad, ShiftedWindowAttention)


def picture_network(model: str | dict) -> nn.Module:
    """The 2D network of a name or a config, with fresh weights; one of timm without its classifier.

    Raises:
        ValueError: no network has this name.
    """
    if not isinstance(model, str):
        return MODELS.build(model)
    if model.startswith("timm."):
        return _without_classifier(timm_network(model))
    package, _, name = model.partition(".")
    if package == "torchvision" and name in torchvision.models.list_models(torchvision.models):
        return torchvision.models.get_model(name, weights=None)
    if package == "timm":
        network = _without_classifier(timm_network(model))
        if type(network).__name__ != "HighResolutionNet":
            return network
        return timm_network(model, features_only=True)  # its maps are outputs of no single module
    raise _no_network(model)


def timm_network(model: str, **options: object) -> nn.Module:
    """Build the network of timm named 'timm.NAME', with fresh weights.

    Raises:
        ValueError: timm does not have this network, or the network not one of ``options``.
    """
    name = model.removeprefix("timm.")
    if not timm.is_model(name):
        raise _no_network(model)
    try:
        return timm.create_model(name, **options)
    except TypeError as error:  # of an argument
        raise ValueError(f"{model}: {error}") from error


def _no_network(model: str) -> ValueError:
    return ValueError(
        f"model={model!r} is not available: use 'timm.NAME' or 'torchvision.NAME' with a name that package lists "
        "(timm.list_models(), torchvision.models.list_models()), or a config"
    )


def _without_classifier(network: nn.Module) -> nn.Module:
    """A network of timm whose ``forward`` is its ``forward_features``."""
    if hasattr(network, "pre_logits"):  # VGG's, which would have half a billion numbers more in 3D
        network.pre_logits = nn.Identity()
    kind = type(network)
    network.__class__ = type(kind.__name__, (kind,), {"forward": kind.forward_features})
    return network


def with_features(
    network: nn.Module, shape: Sequence[int], out_indices: Sequence[int] | None = None
) -> tuple[nn.Module, tuple[int, ...]]:
    """Make a network return its feature maps, in place, and drop all layers that they do not need.

    Also return the indices of these maps, in ascending order.

    The maps are those that a timm network announces; else, at each resolution, the last that no shortcut goes around.
    Layers and containers stay what they are, so that ``train``, ``eval`` and ``copy.deepcopy`` act as on any module.

    Args:
        shape: (C, D, H, W) or (C, H, W) of an input by which the maps are found: its sides are equal, can be halved
            five times, and are no usual number of channels.
        out_indices: maps to return, 0 is the finest; all when left out.

    Raises:
        ConversionError: a 3D network calls a 2D function before its last convolution; a network has no such maps, or
            its forward cannot be traced or depends on the mode.
        ValueError: a map of ``out_indices`` does not exist.
    """
    if isinstance(getattr(network, "feature_info", None), FeatureInfo):
        return _with_chosen_maps(network, choose(out_indices, len(network.feature_info), type(network).__name__))
    names = [info["module"] for info in getattr(network, "feature_info", ()) if info["module"]]
    try:
        copy = probe_copy(network, "meta")
        maps = _announced_maps(copy, names) if names else _last_maps(copy, shape)
        copy.train()
        _refuse_other_steps_in_training(copy, names, maps)
    except ConversionError:
        raise
    except Exception as error:  # a forward can raise anything when it is given a proxy
        raise ConversionError(f"the forward of {type(network).__name__} cannot be followed: {error}") from error
    chosen = choose(out_indices, len(maps), type(network).__name__)
    maps = [maps[index] for index in chosen]
    forward = _forward_to(network, maps)
    _drop_unused(network, {node.target for node in maps[0].graph.nodes if node.op in ("call_module", "get_attr")})
    kind = type(network)
    network.__class__ = type(kind.__name__, (kind,), {"forward": forward})
    return network, chosen


def _with_chosen_maps(network: nn.Module, chosen: tuple[int, ...]) -> tuple[nn.Module, tuple[int, ...]]:
    """Make a network that returns all its maps return the ``chosen``, in place; also return them."""
    kind = type(network)

    def forward(self: nn.Module, x: Tensor) -> list[Tensor]:
        maps = kind.forward(self, x)
        return [maps[index] for index in chosen]

    network.__class__ = type(kind.__name__, (kind,), {"forward": forward})
    return network, chosen


def choose(out_indices: Sequence[int] | None, count: int, name: str) -> tuple[int, ...]:
    """Return the indices of the maps to use, in ascending order; all of ``count`` without ``out_indices``.

    Negative indices count from the end.

    Raises:
        ValueError: the network ``name`` has no map of an index, or no index is given.
    """
    given = range(count) if out_indices is None else out_indices
    chosen = tuple(sorted({index + count if index < 0 else index for index in given}))
    if not chosen or not set(chosen) <= set(range(count)):
        raise ValueError(f"out_indices={list(given)}, but {name} has the features 0 to {count - 1}")
    return chosen


def maps_of(answer: Tensor | Sequence[Tensor] | dict[str, Tensor]) -> list[Tensor]:
    """Return the maps in a network's output."""
    if isinstance(answer, Tensor):
        return [answer]
    return list(answer.values() if isinstance(answer, dict) else answer)


def stride_of(features: Tensor, shape: Sequence[int]) -> int | None:
    """Of a map of an input of ``shape``, whose sides are equal; None of what is none: a vector, a map that was cut, one
    with its channels at the end.
    """
    sizes = set(features.shape[2:])
    if features.dim() != 1 + len(shape) or len(sizes) != 1 or min(sizes) < 2 or shape[-1] % min(sizes):
        return None
    return shape[-1] // min(sizes)


def strides_of(name: str, maps: Sequence[Tensor], shape: Sequence[int]) -> list[int]:
    """Return the strides of the maps that the network ``name`` returns for an input of ``shape``.

    Args:
        name: class of the network, for messages.
        maps: its output, see ``maps_of``.
        shape: (C, D, H, W) or (C, H, W) with equal sides.

    Raises:
        ConversionError: the output contains something else than maps whose sides are the input's, divided.
    """
    if not all(isinstance(features, Tensor) for features in maps):
        kinds = sorted({type(features).__name__ for features in maps})
        raise ConversionError(f"{name} returns a list of {', '.join(kinds)}, not maps: choose another type")
    strides = [stride_of(features, shape) for features in maps]
    if None in strides:
        raise ConversionError(
            f"{name} returns sizes {[tuple(features.shape) for features in maps]} for an input of {tuple(shape[1:])}, "
            "not maps whose sides are the input's, divided: choose another type or setting"
        )
    return strides


# ---- the graph of a forward ------------------------------------------------------------------------------------------


class _MapTracer(Tracer):
    """Tracer that enters only the modules that contain a wanted one; without ``wanted``, all but torch's own.

    A module that is not entered keeps its forward, and with it all that depends on its mode.

    Attributes:
        outputs: last value that a module, or one inside it, returned.
    """

    def __init__(self, wanted: Sequence[str] = ()):
        super().__init__(autowrap_modules=(math, torchvision.ops))
        self.wanted = wanted
        self.outputs: dict[str, Proxy] = {}

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        if self.wanted:
            return not any(each.startswith(f"{name}.") for each in self.wanted)
        return isinstance(module, LEAVES) or super().is_leaf_module(module, name)

    def call_module(self, module: nn.Module, *args: object) -> object:
        answer, name = super().call_module(module, *args), self.path_of_module(module)
        while name:
            self.outputs[name] = answer
            name = name.rpartition(".")[0]
        return answer


def _trace(network: nn.Module, names: Sequence[str] = ()) -> _MapTracer:
    tracer = _MapTracer(names)
    tracer.trace(network)
    return tracer


def _announced_maps(network: nn.Module, names: Sequence[str]) -> list[Node]:
    """Return the graph nodes of the outputs of the modules ``names``."""
    outputs = _trace(network, names).outputs
    if missing := [name for name in names if not isinstance(outputs.get(name), Proxy)]:
        raise ConversionError(f"{type(network).__name__} returns no map from {', '.join(missing)}")
    return [outputs[name].node for name in names]


def _last_maps(network: nn.Module, shape: Sequence[int]) -> list[Node]:
    """Return the graph nodes of the maps at each resolution, behind which no node needs one of those before."""
    tracer = _trace(network)
    *nodes, output = tracer.graph.nodes
    place = {node: index for index, node in enumerate(nodes)}
    last, needed = {}, 0  # needed: the place of the last node that is fed any of the maps so far
    for node, value in _values(tracer.root, nodes, shape):
        if isinstance(value, Tensor) and value.dim() == 1 + len(shape):
            if node.op != "placeholder" and place[node] >= needed and (stride := stride_of(value, shape)) is not None:
                last[stride] = node
            needed = max([needed, *(place[user] for user in node.users if user is not output)])
    if not last:
        raise ConversionError(f"{type(network).__name__} has no maps whose sizes are the input's, halved")
    return list(last.values())


def _values(network: nn.Module, nodes: Sequence[Node], shape: Sequence[int]) -> Iterator[tuple[Node, object]]:
    """The value of each node, in tensors that have a shape and no content, as far as the convolutions go."""
    convs = [node.op == "call_module" and isinstance(network.get_submodule(node.target), CONVS) for node in nodes]
    interpreter = Interpreter(network, graph=nodes[0].graph)
    interpreter.args_iter = iter([torch.zeros(1, *shape, device="meta")])
    for index, node in enumerate(nodes):
        try:
            with torch.no_grad(), PictureFunctionsRefused() if len(shape) == 4 else nullcontext():
                interpreter.env[node] = interpreter.run_node(node)
        except (ConversionError, RuntimeError) as error:
            if any(convs[index:]):
                raise ConversionError(f"'{node.name}' does not work on volumes: {error}") from error
            return  # a classifier, which is not asked for
        yield node, interpreter.env[node]


def _refuse_other_steps_in_training(network: nn.Module, names: Sequence[str], maps: Sequence[Node]) -> None:
    """Raise ConversionError if a network in training mode has other steps to one of ``maps``."""
    training = set(_steps(_trace(network, names).graph).values())
    steps = _steps(maps[0].graph)
    if others := [node.name for node in maps if steps[node] not in training]:
        raise ConversionError(
            f"the forward of {type(network).__name__} calls other layers in training on the way to {', '.join(others)}"
        )


def _steps(graph: Graph) -> dict[Node, int]:
    """Return a hash of all steps that lead to each node."""
    found = {}
    for node in graph.nodes:
        found[node] = hash(repr((node.op, node.target, map_arg((node.args, node.kwargs), found.get))))
    return found


def _forward_to(network: nn.Module, maps: Sequence[Node]) -> Callable[[nn.Module, Tensor], list[Tensor]]:
    """Return a forward that calculates ``maps`` and nothing else; nodes that they do not need leave the graph."""
    graph = maps[0].graph
    graph.erase_node(next(iter(graph.find_nodes(op="output"))))
    graph.output(list(maps))
    for node in reversed(list(graph.nodes)):
        if not node.users and node.op not in ("placeholder", "output"):
            graph.erase_node(node)
    return type(GraphModule(network, graph)).forward


def _drop_unused(module: nn.Module, used: set[str], path: str = "") -> None:
    """Delete the layers, parameters and buffers of ``module`` that are not inside one of the modules ``used``."""
    for name, child in list(module.named_children()):
        whole = f"{path}{name}"
        if whole in used:
            continue
        if any(each.startswith(f"{whole}.") for each in used):
            _drop_unused(child, used, f"{whole}.")
        else:
            delattr(module, name)
    for name in [*module._parameters, *module._buffers]:
        if f"{path}{name}" not in used:
            delattr(module, name)
