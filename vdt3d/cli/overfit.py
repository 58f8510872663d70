"""See whether a config's model can learn a few cases of its training set by heart, without augmentation and the like.

What cannot do this will not learn the whole set. If it fails, the evidence is named: labels, loss, rate, inputs, frozen
weights. The exit code is 0 if the cases were learned, 1 if not.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from vdt3d.cli.config import add_config_arguments, load_run_config

EXAMPLE = "vdt3d overfit configs/debug/segment.py --cases 2"


def add_arguments(parser: ArgumentParser) -> None:
    parser.set_defaults(launcher="none")
    add_config_arguments(parser)
    parser.add_argument("--cases", type=int, default=2, help="how many (default: 2)")
    parser.add_argument("--steps", type=int, default=1200, help="at most (default: 1200)")
    parser.add_argument("--work-dir", type=Path, help="where overfit.json goes (default: work_dirs/CONFIG)")


def run(args: Namespace) -> None:
    """Try, and say what came of it.

    Raises:
        SystemExit: 1 if the cases were not learned.
    """
    config = load_run_config(args, "train_dataloader")
    from rich.console import Console

    from vdt3d.experiments.overfit import diagnose, overfit

    name, seen = overfit(config, cases=args.cases, steps=args.steps)
    console = Console(highlight=False, markup=False)
    told = "learned by heart" if seen.learned else "not learned by heart"
    console.print(f"{told}: {name} {seen.score:.4f} after {len(seen.losses)} steps", style="bold", soft_wrap=True)
    for line in diagnose(seen):
        console.print(f"- {line}", soft_wrap=True)
    if not seen.learned:
        raise SystemExit(1)
