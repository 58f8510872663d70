"""Fetch published weights by name, or list them; docs/zoo.md tells more of them."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from pathlib import Path

EXAMPLE = """vdt3d download --list
vdt3d download vdt-resnet3d-18"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="as the list has it; configs call it zoo:NAME")
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="FILE", help="check this file, fetched by hand, and keep it as NAME"
    )
    parser.add_argument("--list", action="store_true", help="list what there is (also without NAME)")


def run(args: Namespace) -> None:
    from rich.console import Console

    from vdt3d.models.weights.zoo import entries, fetch

    if args.source is not None and args.name is None:
        raise ValueError(f"--from {args.source}: say as which NAME of the list it is to be kept")
    if args.list and args.name is not None:
        raise ValueError(f"--list shows all weights; leave it out to fetch {args.name}, or leave the name out")
    if args.name is None:
        wide = None if sys.stdout.isatty() else 240  # an entry a line, for grep
        Console(highlight=False, width=wide).print(table(entries()))
        return
    Console(highlight=False).print(str(fetch(args.name, source=args.source)), soft_wrap=True, markup=False)


def table(found: Iterable):
    """One row for each entry of the zoo."""
    from rich.table import Table

    rows = Table("name", "task", "scores as published", "licence", "size", "here", box=None, pad_edge=False)
    rows.columns[0].no_wrap = True
    for entry in found:
        scores = ", ".join(f"{name} {value:g}" for name, value in entry.metrics.items())
        rows.add_row(
            entry.name,
            entry.task,
            f"{scores} ({entry.scored})" if scores else "",
            entry.licence.partition(" (")[0],
            size_of(entry.size),
            "yes" if entry.path.is_file() else "" if entry.url else "by hand",
        )
    return rows


def size_of(size: int | str | None) -> str:
    """Bytes in words; what is in words already stays."""
    return f"{size / 1e6:.1f} MB" if isinstance(size, int) else size or "unknown"
