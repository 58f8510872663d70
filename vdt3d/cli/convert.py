"""Carry 2D weights over to 3D, as a file: deeper kernels (i3d, centre), or those of ACS and 2.5D networks.

A config does the same while it loads (load_from and inflate), so this is for files that are to be kept or passed on.
"""

import re
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from vdt3d.cli.config import CHECKPOINT, load_model, quiet_imports
from vdt3d.cli.outputs import add_overwrite_argument

EXAMPLE = "vdt3d convert torchvision://resnet18 resnet18_i3d.safetensors --how i3d"
CONVS = {"i3d": "3d", "centre": "3d", "acs": "acs", "2.5d": "2.5d"}  # what a network's kernels are, by --how


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("src", help=CHECKPOINT)
    parser.add_argument("dst", type=Path, help="file to write: safetensors if its name ends so, else torch's format")
    parser.add_argument(
        "--how",
        choices=CONVS,
        required=True,
        help="i3d: kernels repeated along depth; centre: between zeros; acs, 2.5d: as networks of these kernels want",
    )
    parser.add_argument(
        "--arch",
        help="resnet3d-DEPTH or a config: fit the weights to this network, all of which they must fill "
        "(default: none; kernels become as deep as they are wide)",
    )
    add_overwrite_argument(parser)


def run(args: Namespace) -> None:
    from vdt3d.utils.outputs import check_outputs

    check_outputs([args.dst], inputs=[args.src, args.arch or args.src], overwrite=args.overwrite)
    quiet_imports()
    from rich.console import Console

    from vdt3d.models.weights.files import read_any, state_dict_of, write_weights

    state = state_dict_of(read_any(args.src), args.src)
    converted, notes = fitted(state, args) if args.arch else deepened(state, args)
    args.dst.parent.mkdir(parents=True, exist_ok=True)
    source = args.src.rpartition("/")[2]  # whose folder it lay in is nobody's business
    write_weights(converted, args.dst, meta={"source": source, "how": args.how, "arch": args.arch})
    console = Console(highlight=False)
    for note in notes:
        console.print(note, soft_wrap=True, markup=False)
    console.print(table(converted.values()))
    console.print(str(args.dst), soft_wrap=True, markup=False)


def deepened(state: Mapping, args: Namespace) -> tuple[dict, list[str]]:
    """The weights for a network of which only this is known: how its kernels come from 2D ones.

    Raises:
        ValueError: there are no 2D kernels.
    """
    from vdt3d.models.weights.adapt import inflate
    from vdt3d.models.weights.recognition import recognise

    dims = {value.ndim for value in state.values()}
    if 4 not in dims or 5 in dims:
        raise ValueError(
            f"{args.src}: has no 2D kernels to convert (recognised as: {recognise(state)}); --arch fits it to a network"
        )
    shapes = {key: shape_in_3d(tuple(value.shape), args.how) for key, value in state.items()}
    return inflate(state, shapes, filling(args.how))


def shape_in_3d(shape: tuple[int, ...], how: str) -> tuple[int, ...]:
    """What a tensor of a 2D network is in 3D: a kernel (O, I, H, W) as deep as wide, a scale (C, 1, 1) of four axes."""
    if len(shape) == 4 and CONVS[how] != "acs":
        return (*shape[:2], 1 if how == "2.5d" else shape[3], *shape[2:])
    return (*shape, 1) if len(shape) == 3 and shape[1:] == (1, 1) else shape


def fitted(state: Mapping, args: Namespace) -> tuple[dict, list[str]]:
    """The weights as the network of ``--arch`` has them.

    Raises:
        ValueError: no such network, or the weights do not fill it.
    """
    from vdt3d.models.weights.load import load_pretrained

    network = network_of(args.arch, args.how)
    report = load_pretrained(network, state, inflate=filling(args.how), name=args.src)
    if report.matched < 1:
        raise ValueError(
            f"{report}\n  the file fills {report.matched:.0%} of the network of --arch, but must fill all of it"
        )
    filled = network.state_dict()
    return {key: filled[key] for key in report.used}, [str(report)]


def network_of(arch: str, how: str):
    """The network that ``--arch`` names."""
    from mmengine.registry import DefaultScope

    from vdt3d.registry import MODELS

    if named := re.fullmatch(r"resnet3d-(\d+)", arch):
        with DefaultScope.overwrite_default_scope("vdt3d"):
            return MODELS.build({"type": "ResNet3D", "depth": int(named.group(1)), "conv": CONVS[how]})
    if not arch.endswith(".py"):
        raise ValueError(f"--arch {arch} is neither resnet3d-DEPTH, such as resnet3d-18, nor a config (.py)")
    return load_model(Path(arch))[1]


def filling(how: str) -> str | None:
    """How kernels get more slices; None where they do not."""
    return how if CONVS[how] == "3d" else None


def table(tensors: Iterable):
    """How many kernels there are of each size."""
    from rich.table import Table

    sizes = Counter(tuple(value.shape[2:]) if value.ndim > 3 else None for value in tensors)
    rows = Table("kernel", "tensors", box=None, pad_edge=False)
    for size, count in sizes.items():
        rows.add_row("none (norms, biases, ...)" if size is None else " x ".join(map(str, size)), str(count))
    return rows
