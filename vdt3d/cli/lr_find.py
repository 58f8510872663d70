"""Find the learning rate of a config: a ramp over a hundred steps, from 1e-7 until the loss diverges.

The suggestion is half of the rate from which the loss rose or, where it did not diverge, that of steepest descent, the
cautious choice. The curve is drawn; nothing is trained, and no weights are written.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from vdt3d.cli.config import add_config_arguments, load_run_config

EXAMPLE = "vdt3d lr-find configs/debug/classify.py"


def add_arguments(parser: ArgumentParser) -> None:
    parser.set_defaults(launcher="none")
    add_config_arguments(parser)
    parser.add_argument("--steps", type=int, default=100, help="of the ramp (default: 100)")
    parser.add_argument(
        "--work-dir", type=Path, help="where lr_find.json and lr_find.png go (default: work_dirs/CONFIG)"
    )


def run(args: Namespace) -> None:
    config = load_run_config(args, "train_dataloader")
    from rich.console import Console

    from vdt3d.experiments.lr_finder import find_rate

    curve = find_rate(config, steps=args.steps)
    lines = [f"the curve is in {Path(config.work_dir, 'lr_find.png')}"]
    if curve.steepest is not None:
        lines.append(f"steepest descent at {curve.steepest:.1e}")
    if curve.suggestion is None:
        lines.append("no suggestion: at no rate did the loss fall; does it learn?")
    else:
        if not curve.diverged:
            lines.append(f"the loss did not diverge up to {curve.rates[-1]:g}: the steepest descent is suggested")
        lines.append(f"suggested: --cfg-options optim_wrapper.optimizer.lr={curve.suggestion:.1e}")
    Console(highlight=False, markup=False).print("\n".join(lines), soft_wrap=True)
