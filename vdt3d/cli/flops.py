"""Count what a network holds and does: parameters, and operations of one forward pass of one sample, part by part.

macs: multiply-adds of convolutions and matrix products; nothing is computed. torchprofile: twice what the package of
that name counts, which are multiply-adds, elements of norms that have weights, elementwise products and some more, as
TransSeg's numbers are; the network runs once, on the CPU.
"""

import math
import re
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vdt3d.cli.config import add_config_arguments, load_config, require_model

if TYPE_CHECKING:
    from torch import nn

EXAMPLE = """vdt3d flops configs/debug/classify.py
vdt3d flops configs/debug/segment.py --shape 1 16 80 96"""
Side = tuple[float, float]  # the least and the greatest size along an axis
UNKNOWN: Side = (1, math.inf)


class Counted(NamedTuple):
    """Operations of each part and of all; ``unknown`` are operators that the convention knows nothing of."""

    parts: dict[str, int]
    total: int
    unknown: tuple[str, ...] = ()


def add_arguments(parser: ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("--convention", choices=CONVENTIONS, default="macs", help="what is counted, see above")
    parser.add_argument(
        "--shape",
        nargs="+",
        type=int,
        metavar="SIZE",
        help="C D H W of the sample, of pictures C H W (default: as the train pipeline makes it)",
    )


def run(args: Namespace) -> None:
    config = load_config(args)
    require_model(config, args.config)
    from rich.console import Console

    shape = tuple(args.shape) if args.shape else sample_shape(config, args.config)
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise ValueError(f"--shape {' '.join(map(str, shape))}: wanted are C D H W, or C H W of a picture")
    device, count, unit = CONVENTIONS[args.convention]
    model = network(config, device)
    try:
        counted = count(model, shape)
    except RuntimeError as error:  # torch's way to say that sizes do not fit
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{args.config}: the network cannot take {_product(shape)}: {reason}; say --shape") from error
    console = Console(highlight=False, markup=False)
    axes = "C x D x H x W" if len(shape) == 4 else "C x H x W"
    console.print(f"{args.config}: one sample of {_product(shape)} ({axes})", soft_wrap=True)
    console.print(table(model, counted, unit))
    if counted.unknown:
        console.print(f"unknown to {args.convention}, counted as 0: {', '.join(counted.unknown)}", soft_wrap=True)


# ---- the network -----------------------------------------------------------------------------------------------------


def network(config, device: str) -> "nn.Module":
    """The model of a config, ready to be counted: on the device 'cpu', or on 'meta', where tensors have no content."""
    import torch
    from mmengine.registry import DefaultScope

    from vdt3d.models import VolumeDataPreprocessor
    from vdt3d.models.layers.folded_conv import FoldedConv3d
    from vdt3d.models.layers.safe_conv import SafeConv3d
    from vdt3d.registry import MODELS

    # Batches are not counted; any preprocessor will do, and this one suits every model.
    told = {**config.model, "data_preprocessor": VolumeDataPreprocessor()}
    with DefaultScope.overwrite_default_scope("vdt3d"):
        try:
            with torch.device(device):
                model = MODELS.build(told)
        except RuntimeError:
            if device != "meta":
                raise
            model = MODELS.build(told).to(device)  # it reads numbers off tensors as it is built
    model.eval()
    for module in model.modules():
        if isinstance(getattr(module, "fused", None), bool):  # attention as one operation hides its products
            module.fused = False
        if isinstance(module, FoldedConv3d):  # on a CPU it would do the same with fewer products
            module.__class__ = SafeConv3d
    return model


def parts_of(model: "nn.Module") -> dict[str, "nn.Module"]:
    """What a model is made of, by name; of a list of parts, each."""
    from torch import nn

    children = (
        [(f"{name}.{index}", part) for index, part in enumerate(child)]
        if isinstance(child, nn.ModuleList)
        else [(name, child)]
        for name, child in model.named_children()
    )
    return dict(chain.from_iterable(children))


# ---- the operations --------------------------------------------------------------------------------------------------


def multiply_adds(model: "nn.Module", shape: Sequence[int]) -> Counted:
    """Those of convolutions and matrix products, attention's two included, for a sample of ``shape``.

    A convolution has its output's elements times those of a kernel, voxels of padding included.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, *shape, device="meta"))
    # A multiply-add is two.
    counts = {path: sum(operators.values()) // 2 for path, operators in counter.get_flop_counts().items()}
    kind = type(model).__name__
    return Counted({name: _within(counts, f"{kind}.{name}") for name in parts_of(model)}, counts.get("Global", 0))


def _within(counts: dict[str, int], path: str) -> int:
    """The count of a part; of one that was not called as a whole, of those in it that were."""
    if path in counts:
        return counts[path]
    depth = path.count(".") + 2
    inner = {".".join(key.split(".")[:depth]) for key in counts if key.startswith(f"{path}.")}
    return sum(_within(counts, each) for each in inner)


def as_torchprofile(model: "nn.Module", shape: Sequence[int]) -> Counted:
    """Twice what torchprofile counts for a sample of ``shape``.

    Raises:
        ValueError: the package is not installed.
    """
    import torch

    try:
        from torchprofile import profile_macs
    except ModuleNotFoundError as error:
        raise ValueError(
            "--convention torchprofile is of a package that is not there: pip install vdt3d[flops]"
        ) from error
    parts = parts_of(model)
    with warnings.catch_warnings(record=True) as told, torch.no_grad(), _scopes(parts), _no_fast_path():
        warnings.simplefilter("always")
        counts = profile_macs(model, (torch.zeros(1, *shape),), reduction=None)
    unknown = {found[1] for warning in told if (found := re.search(r'No handlers found: "(.+)"', str(warning.message)))}
    of_parts = {name: 2 * sum(count for node, count in counts.items() if node.scope == name) for name in parts}
    return Counted(of_parts, 2 * sum(counts.values()), tuple(sorted(unknown)))


# The device to count on, how, and what the number is called.
CONVENTIONS: dict[str, tuple[str, Callable, str]] = {
    "macs": ("meta", multiply_adds, "multiply-adds"),
    "torchprofile": ("cpu", as_torchprofile, "operations"),
}


@contextmanager
def _scopes(parts: dict[str, "nn.Module"]) -> Iterator[None]:
    """Has a trace note of each operation in which part it was, as torch.jit.trace does by this table of its own."""
    import torch.jit._trace as trace

    before, trace._trace_module_map = trace._trace_module_map, {part: name for name, part in parts.items()}
    try:
        yield
    finally:
        trace._trace_module_map = before


@contextmanager
def _no_fast_path() -> Iterator[None]:
    """Has torch's own attention show its products."""
    from torch.backends import mha

    before = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        mha.set_fastpath_enabled(before)


# ---- the table -------------------------------------------------------------------------------------------------------


def table(model: "nn.Module", counted: Counted, unit: str):
    """A row for each part that has parameters or operations, for what lies outside of them, and for all."""
    from rich.table import Table

    rows, seen = Table(box=None, pad_edge=False), set()
    rows.add_column("part", no_wrap=True)
    rows.add_column("type", overflow="fold")  # where it is narrow, the numbers stay whole
    for name in ("parameters", "", unit, ""):
        rows.add_column(name, justify="right", no_wrap=True)

    def add(name: str, kind: str, parameters: int, operations: int) -> None:
        rows.add_row(name, kind, str(parameters), readable(parameters), str(operations), readable(operations))

    for name, part in parts_of(model).items():
        parameters = sum(parameter.numel() for parameter in part.parameters())
        seen.update(map(id, part.parameters()))
        if parameters or counted.parts[name]:
            add(name, type(part).__name__, parameters, counted.parts[name])
    rest = sum(parameter.numel() for parameter in model.parameters() if id(parameter) not in seen)
    between = counted.total - sum(counted.parts.values())
    if rest or between:
        add("between them", "", rest, between)
    add("total", "", sum(parameter.numel() for parameter in model.parameters()), counted.total)
    return rows


def readable(number: int) -> str:
    """Three digits or less before the point, and a letter for the thousands: 107.43 G."""
    steps = min((len(str(number)) - 1) // 3, 4)
    return f"{number / 1000**steps:.2f} {' kMGT'[steps]}" if steps else ""


def _product(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


# ---- the shape of a sample -------------------------------------------------------------------------------------------


def sample_shape(config, path: Path) -> tuple[int, ...]:
    """(C, D, H, W), or (C, H, W) of pictures, as the train pipeline of a config makes samples.

    Raises:
        ValueError: it makes them of any size, or nothing tells their channels.
    """
    from mmcv.transforms import BaseTransform

    from vdt3d.datasets.base import built
    from vdt3d.structures import SliceWindow, SpacedWindow

    dataset = config.get("train_dataloader", {}).get("dataset", {})
    while "pipeline" not in dataset and "dataset" in dataset:
        dataset = dataset["dataset"]
    steps = built(dataset.get("pipeline", ()))
    pictures = any(isinstance(step, BaseTransform) for step in steps)
    sides = [UNKNOWN] * (2 if pictures else 3)
    if "window" in dataset or dataset.get("type") == "SliceWindows":
        windows = SliceWindow if dataset.get("type") == "SliceWindows" else SpacedWindow
        sides[0] = (windows.of(dataset.get("window")).slices,) * 2
    for step in steps:
        sides = sides_after(step, sides)
    untold = [axis for axis, (low, high) in zip("DHW"[-len(sides) :], sides, strict=True) if low != high]
    if untold:
        raise ValueError(
            f"{path}: its train pipeline does not tell the size of a sample along {', '.join(untold)}; say --shape "
            f"{'C H W' if len(sides) == 2 else 'C D H W'}"
        )
    colours = 3 if len(sides) == 2 else 1  # channels of a picture, or slices of a volume of one channel
    return (colours if pictures else _channels(config.model, path), *(int(low) for low, _ in sides))


def _channels(model, path: Path) -> int:
    """Those that the model, or its backbone, is told of or expects by default."""
    from vdt3d.registry import MODELS

    for part in (model, model.get("backbone") or {}):
        if "in_channels" in part:
            return part["in_channels"]
        known = signature(MODELS.get(part["type"])).parameters if "type" in part else {}
        if "in_channels" in known and isinstance(known["in_channels"].default, int):
            return known["in_channels"].default
    raise ValueError(f"{path}: nothing in its model tells the channels of a sample; say --shape C D H W")


def sides_after(step: object, sides: Sequence[Side]) -> list[Side]:
    """The sizes, along (D, H, W) or (H, W), that samples have behind a transform if they had ``sides`` before it."""
    rule = next((RULES[kind.__name__] for kind in type(step).__mro__ if kind.__name__ in RULES), None)
    if rule is not None:
        return rule(step, list(sides))
    # What else is named so turns pictures into some size that only the picture tells.
    return [UNKNOWN] * len(sides) if re.search("Crop|Resize|Pad", type(step).__name__) else list(sides)


def _exactly(sizes: Sequence[int | None], sides: Sequence[Side]) -> list[Side]:
    return [side if size is None else (size, size) for size, side in zip(sizes, sides, strict=True)]


def _at_most(sizes: Sequence[int | None], sides: Sequence[Side]) -> list[Side]:
    return [
        side if size is None else (min(side[0], size), min(side[1], size))
        for size, side in zip(sizes, sides, strict=True)
    ]


def _padded(sizes: Sequence[int | None], sides: Sequence[Side]) -> list[Side]:
    """At least ``sizes``; where nothing was known before, just these, lest a batch were of several sizes."""
    return [
        side if size is None else (size, size) if side == UNKNOWN else (max(side[0], size), max(side[1], size))
        for size, side in zip(sizes, sides, strict=True)
    ]


def _multiples(divisors: Sequence[int], sides: Sequence[Side]) -> list[Side]:
    def padded(size: float, divisor: int) -> float:
        return size if size == math.inf else -(-size // divisor) * divisor

    return [(padded(low, by), padded(high, by)) for by, (low, high) in zip(divisors, sides, strict=True)]


def _turned(planes: Sequence[Sequence[int]], sides: list[Side]) -> list[Side]:
    for a, b in planes:
        sides[a] = sides[b] = (min(sides[a][0], sides[b][0]), max(sides[a][1], sides[b][1]))
    return sides


# By the name of a transform's class or of one it comes from, the nearest first: the sizes it leaves.
RULES: dict[str, Callable[..., list[Side]]] = {
    "SpatialTransform": lambda step, sides: [UNKNOWN] * 3,
    "_Flip": lambda step, sides: sides,
    "RandomRotate90": lambda step, sides: _turned(step.planes, sides),
    "Reorient3D": lambda step, sides: _turned([(0, 1), (1, 2), (0, 1)], sides),
    "RandomSpatial3D": lambda step, sides: sides if step.size is None else _exactly(step.size, sides),
    "RandomPatch3D": lambda step, sides: _exactly(step.size, sides),
    "RandomShiftCrop3D": lambda step, sides: _exactly(step.size, sides),
    "RandomZCrop": lambda step, sides: _exactly((step.depth, None, None), sides),
    "RandomCrop3D": lambda step, sides: _at_most(step.size, sides),
    "CropForeground3D": lambda step, sides: [(1, high) for _, high in sides],
    "Pad3D": lambda step, sides: _padded(step.size, sides),
    "PadToMultiple3D": lambda step, sides: _multiples(step.divisor, sides),
    "Resize3D": lambda step, sides: _exactly(step.size, sides),
    "ResampleSpacing3D": lambda step, sides: [
        side if spacing is None else UNKNOWN for spacing, side in zip(step.spacing, sides, strict=True)
    ],
    "RandomResize3D": lambda step, sides: [sides[0], UNKNOWN, UNKNOWN],
    "RandomChoiceResize3D": lambda step, sides: [sides[0], UNKNOWN, UNKNOWN],
    "RandomZoom3D": lambda step, sides: [sides[0] if step.in_slices else UNKNOWN, UNKNOWN, UNKNOWN],
    # Of pictures, whose sizes some transforms give as (H, W) and some as (W, H).
    "RandomCrop": lambda step, sides: _exactly(step.crop_size, sides),
    "RandomResizedCrop": lambda step, sides: _exactly(step.scale, sides),
    "CenterCrop": lambda step, sides: _exactly(step.crop_size[::-1], sides),
    "Resize": lambda step, sides: (
        [UNKNOWN] * 2 if step.keep_ratio or step.scale is None else _exactly(step.scale[::-1], sides)
    ),
    "ColoursToSlices": lambda step, sides: [(3, 3), *sides],
}
