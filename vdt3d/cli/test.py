"""Test the model of a config with the weights of a checkpoint; of several, the mean of their probabilities decides."""

import json
import math
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path

from vdt3d.cli.config import CHECKPOINT, add_dropout_argument, add_run_arguments, answer_with, load_run_config
from vdt3d.cli.outputs import add_overwrite_argument

EXAMPLE = "vdt3d test configs/debug/classify.py work_dirs/classify/epoch_15.pth --out scores.json"


def add_arguments(parser: ArgumentParser) -> None:
    add_run_arguments(parser)
    parser.add_argument("checkpoint", nargs="+", help=f"{CHECKPOINT}; several: ensemble")
    add_dropout_argument(parser)
    parser.add_argument("--out", type=Path, help="also write the scores to this json file")
    parser.add_argument(
        "--format-only",
        type=Path,
        metavar="FOLDER",
        help="write segmentations there as NIfTI, and score nothing; a new or empty folder",
    )
    add_overwrite_argument(parser)


def run(args: Namespace) -> None:
    check_targets(args)
    config = load_run_config(args, "test_dataloader")
    from mmengine.dist import is_main_process
    from rich.console import Console

    from vdt3d.engine import Runner, distributed_left_after
    from vdt3d.engine.distributed import require_launcher
    from vdt3d.utils.files import write_aside

    require_launcher(config.launcher)
    answer_with(config, args.checkpoint, args.mc_dropout)
    if args.format_only is not None:
        config.test_evaluator = []
        config.custom_hooks = [*config.get("custom_hooks", []), dict(type="PredictionsHook", out=str(args.format_only))]
    with distributed_left_after():
        scores = Runner.from_cfg(config).test()
        if not is_main_process():
            return
    if args.format_only is not None:
        Console(highlight=False).print(f"segmentations are in {args.format_only}", soft_wrap=True)
        return
    Console(highlight=False).print(table(scores))
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_aside(args.out, lambda aside: aside.write_text(json.dumps(scores, indent=2) + "\n"))


def check_targets(args: Namespace) -> None:
    """Refuse to write where files are already, before anything is computed.

    Raises:
        ValueError: ``--out`` exists without ``--overwrite``, or the folder of ``--format-only`` is not empty.
    """
    from vdt3d.utils.outputs import check_outputs, check_writable

    if args.out is not None:
        check_outputs([args.out], inputs=[args.config, *args.checkpoint], overwrite=args.overwrite)
    if args.format_only is not None:
        check_writable(args.format_only)
        if args.format_only.exists() and any(args.format_only.iterdir()):
            raise ValueError(f"--format-only {args.format_only}: the folder is not empty; name a new one")


def table(scores: Mapping[str, float]):
    """One row a score, with its interval where ``NAME_low`` and ``NAME_high`` are among them."""
    from rich.table import Table

    rows = Table("score", "value", "95 % interval", box=None, pad_edge=False)
    for name, value in scores.items():
        if not name.endswith(("_low", "_high")):
            ends = [scores.get(f"{name}_{end}", math.nan) for end in ("low", "high")]
            ends = [] if any(map(math.isnan, ends)) else ends  # of one or two patients there is no interval
            shown = f"{value:.4f}" if isinstance(value, float) else str(value)
            rows.add_row(name, shown, " to ".join(f"{end:.3f}" for end in ends))
    return rows
