"""Layers without weights put before or after parts of a finished model, and two that are of use there."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from vdt3d.registry import MODELS


@MODELS.register_module()
class SpatialDropout(nn.Dropout3d):
    """Zeroes whole channels of (N, C, ...), whatever axes follow, and scales the others up (Tompson et al. 2015).

    Neighbouring voxels tell nearly the same, so to drop single ones hides little. torch's ``Dropout3d`` takes maps
    (N, C, H, W) for one volume and would drop whole samples.

    Args:
        drop_prob: of each channel.
    """

    def __init__(self, drop_prob: float = 0.5):
        super().__init__(drop_prob)

    def forward(self, x: Tensor) -> Tensor:
        """``x``, while evaluating unchanged."""
        return torch.feature_dropout(x, self.p, self.training)


@MODELS.register_module()
class GaussianNoise(nn.Module):
    """Adds normal noise while training.

    Args:
        std: of the noise, in the units of what it is added to.

    Raises:
        ValueError: ``std`` is negative.
    """

    def __init__(self, std: float):
        super().__init__()
        if std < 0:
            raise ValueError(f"std={std}: noise has a standard deviation of 0 or more")
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        """``x``, while evaluating unchanged."""
        return x + self.std * torch.randn_like(x) if self.training else x

    def extra_repr(self) -> str:
        return f"std={self.std}"


def insert_layers(model: nn.Module, layers: Sequence[Mapping[str, Any]]) -> None:
    """Put layers before or after modules of ``model``, of which they become part as ``model.inserted``.

    Args:
        layers: each the config of a layer without weights and ``before`` or ``after``, a name of modules as
            ``named_modules`` tells it, with * and ? for any letters: ``dict(after='neck', type='Dropout')``. A layer
            after several modules, or one that gives several tensors, is one and draws anew for each.

    Raises:
        ValueError: not one of ``before`` and ``after``, no module of that name, or a layer with weights. (On use) a
            module that is not given, or does not give, tensors.
    """
    model.inserted = nn.ModuleList()  # so that it trains, evaluates and is found as any other part
    for config in map(dict, layers):
        places = [place for place in ("before", "after") if place in config]
        if len(places) != 1:
            raise ValueError(f"{config}: say either before or after which module it stands")
        pattern = config.pop(places[0])
        layer = MODELS.build(config)
        if layer.state_dict():
            raise ValueError(f"{config['type']} has weights, and checkpoints without them would no longer fit")
        for module in matching(model, pattern).values():
            if places[0] == "after":
                module.register_forward_hook(_behind(layer, pattern))
            else:
                module.register_forward_pre_hook(_ahead(layer, pattern))
        model.inserted.append(layer)
    model.inserted.train(model.training)


def matching(model: nn.Module, pattern: str) -> dict[str, nn.Module]:
    """The modules of ``model`` whose name fits ``pattern`` (* and ? stand for any letters), but no inserted ones.

    Raises:
        ValueError: there is none.
    """
    modules = {name: module for name, module in model.named_modules() if name and not name.startswith("inserted")}
    return {name: modules[name] for name in fitting(modules, pattern, "module")}


def fitting(names: Iterable[str], pattern: str, what: str) -> list[str]:
    """Those of ``names`` that fit ``pattern``.

    Raises:
        ValueError: there is none; the message says which are near.
    """
    names = list(names)
    if found := [name for name in names if fnmatchcase(name, pattern)]:
        return found
    near = get_close_matches(pattern, names, n=5, cutoff=0.3)
    raise ValueError(f"no {what} is called '{pattern}'; near are {', '.join(near or names[:5])}")


def tensors_through(value: Any, change: Callable[[Tensor], Tensor], where: str) -> Any:
    """``value``, a tensor or tuples, lists and dicts of them, with each tensor changed.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return type(value)((key, tensors_through(part, change, where)) for key, part in value.items())
    if isinstance(value, list | tuple):
        return type(value)([tensors_through(part, change, where) for part in value])
    raise ValueError(f"at '{where}' there is a {type(value).__name__} and not tensors; choose another module")


def _behind(layer: nn.Module, where: str) -> Callable:
    return lambda module, args, output: tensors_through(output, layer, where)


def _ahead(layer: nn.Module, where: str) -> Callable:
    def change(module: nn.Module, args: tuple) -> tuple:
        if not args:
            raise ValueError(f"'{where}' is given nothing by position; choose another module")
        return (tensors_through(args[0], layer, where), *args[1:])

    return change
