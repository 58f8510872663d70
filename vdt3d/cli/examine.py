"""Show what a checkpoint holds and what it is, and with a config whether it would fit; nothing in it is executed."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path

from vdt3d.cli.config import CHECKPOINT, load_model, quiet_imports

EXAMPLE = "vdt3d examine work_dirs/classify/epoch_15.pth --config configs/debug/classify.py"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", help=CHECKPOINT)
    parser.add_argument("--config", type=Path, help="also say what its model would take from the file")


def run(args: Namespace) -> None:
    quiet_imports()
    from rich.console import Console

    from vdt3d.models.weights.download import sha256_of
    from vdt3d.models.weights.files import local_copy, read_checkpoint, state_dict_of

    path = local_copy(args.file)
    checkpoint = read_checkpoint(path)
    state = state_dict_of(checkpoint, args.file)
    meta = checkpoint["meta"] if isinstance(checkpoint.get("meta"), Mapping) else {}
    console = Console(highlight=False, markup=False)
    console.print(table(state))
    facts = {
        "file": path,
        "bytes": path.stat().st_size,
        "sha256": sha256_of(path),
        "tensors": f"{len(state)}, of {sum(value.numel() for value in state.values())} numbers",
        "layout": layout(state),
        **{f"meta.{key}": short(value) for key, value in meta.items()},
    }
    if beside := [key for key in checkpoint if key not in ("meta", "state_dict") and key not in state]:
        facts["beside them"] = ", ".join(map(str, beside))
    for name, value in facts.items():
        console.print(f"{name}: {value}", soft_wrap=True)
    if args.config is not None:
        for line in fit(state, args.file, args.config):
            console.print(line, soft_wrap=True)


def layout(state: Mapping) -> str:
    """What a state dict was recognised as, or what it is nearest to."""
    from vdt3d.models.weights.recognition import nearest, recognise

    found = recognise(state)
    if found.layout is None:
        near, reason = nearest(state)
        return f"none known here; the nearest is {near.title}, but {reason}"
    remark = f"; {found.layout.remark}" if found.layout.remark else ""
    return f"{found}; source: {found.layout.source}{remark}"


def fit(state: Mapping, name: str, path: Path) -> list[str]:
    """What a run with this config would log on loading the file.

    Raises:
        ValueError: it would be refused, and why.
    """
    config, model = load_model(path)
    from vdt3d.models.weights.load import load_pretrained

    report = load_pretrained(
        model, state, inflate=config.get("inflate"), min_matched=config.get("min_matched"), name=name
    )
    return [f"with {path}:", str(report)]


def table(state: Mapping):
    """A row for each tensor."""
    from rich.table import Table

    rows = Table("key", "shape", "type", box=None, pad_edge=False)
    rows.columns[0].no_wrap = True
    for key, value in state.items():
        rows.add_row(key, " x ".join(map(str, value.shape)) or "one number", str(value.dtype).removeprefix("torch."))
    return rows


def short(value: object) -> str:
    """A value of a checkpoint's meta on one line."""
    text = " ".join(str(value).split())
    return text if len(text) <= 100 else f"{text[:100]} ..."
