"""Show a config as merged, and beside each type the file and line it lives at; the output is a config again."""

import re
from argparse import ArgumentParser, Namespace

from vdt3d.cli.config import add_config_arguments, load_config

EXAMPLE = "vdt3d print-config configs/debug/classify.py"
TYPE = re.compile(r"""\btype=(["'])([\w.]+)\1""")


def add_arguments(parser: ArgumentParser) -> None:
    add_config_arguments(parser)


def run(args: Namespace) -> None:
    from rich.console import Console
    from rich.syntax import Syntax

    text = annotate(load_config(args).pretty_text)
    # Soft wrapping leaves long lines whole, so that what is piped to a file stays python.
    Console().print(Syntax(text, "python", background_color="default").highlight(text), soft_wrap=True, end="")


def annotate(text: str) -> str:
    """Put behind every line that names types where they live: ``package/module.py:line``."""
    return "".join(f"{line}{_places(line)}\n" for line in text.splitlines())


def _places(line: str) -> str:
    places = [place(name) for _, name in TYPE.findall(line)]
    return f"  # {', '.join(places)}" if places else ""


def place(name: str) -> str:
    """Where the part of this name is defined, whichever registry holds it."""
    from mmengine.registry import Registry, root

    from vdt3d.registry import where

    roots = [registry for registry in vars(root).values() if isinstance(registry, Registry)]
    found = (registry.children["vdt3d"] for registry in roots if name in registry.children["vdt3d"])
    registry = next(found, None)
    return "not registered" if registry is None else where(registry.get(name))
