"""Comparisons of initialisations: each run by ``vdt3d compare``, remembered as a line, all of them summed up."""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

import record

if TYPE_CHECKING:
    from vdt3d.experiments.comparison import Run

KEPT = ("score", "labels", "steps", "seconds_per_step", "parameters", "validation", "test", "cases")
FLAT = ("i3d", "centre", "acs", "2.5d")  # the arms that start from the 2D network


def arguments(description: str, fractions: list[float], minutes: float, budget: str) -> Namespace:
    """The command line that these experiments share; ``budget`` is what the minutes come to, steps or epochs."""
    parser = ArgumentParser(description=description)
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("--weights-2d", type=Path, help="checkpoint of configs/imagenet_pretrain/resnet-18w16_...")
    parser.add_argument(
        "--weights-vdt", type=Path, help="checkpoint of configs/imagenet_pretrain/resnet3d-18w16_vdt_..."
    )
    parser.add_argument("--arms", nargs="+", default=["scratch", "i3d", "acs", "2.5d", "vdt"])
    parser.add_argument("--fractions", nargs="+", type=float, default=fractions)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=minutes, help="what scratch trains for, unless a run is there")
    parser.add_argument(f"--{budget}", dest="budget", type=int, help=f"{budget} of every run, in place of the minutes")
    return parser.parse_args()


def finished(experiment: str) -> list[dict]:
    """The runs that are on record."""
    path = record.RESULTS / f"{experiment}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def compare(experiment: str, config: str, args: Namespace, budget: dict[str, int], options: list[str]) -> None:
    """Do what is missing, run by run, and sum up all runs of this ``budget``, which is part of what tells a run."""
    from vdt3d.cli.config import quiet_imports

    quiet_imports()
    from vdt3d.experiments.comparison import Run, summarise

    for seed in args.seeds:
        for fraction in args.fractions:
            for arm in args.arms:
                of_run = Run(arm, fraction, seed)
                key = {"arm": arm, "fraction": fraction, "seed": seed, **budget}
                record.once(experiment, key, lambda run=of_run: perform(run, config, args, options))
    lines = [line for line in finished(experiment) if budget.items() <= line.items()]
    print(summarise(lines, args.work_dir))


def perform(run: "Run", config: str, args: Namespace, options: list[str]) -> dict:
    """One run by the command; of each case its number is kept, and four decimals of everything."""
    from vdt3d.cli import main

    words = ["--inits", run.arm, "--fractions", str(run.fraction), "--seeds", str(run.seed)]
    file = args.weights_vdt if run.arm == "vdt" else args.weights_2d if run.arm in FLAT else None
    weights = ["--weights", f"{run.arm}={file.resolve()}"] if file else []
    main(["compare", config, *words, "--work-dir", str(args.work_dir), *weights, "--cfg-options", *options])
    result = json.loads((run.folder(args.work_dir) / "result.json").read_text())
    result["cases"]["name"] = [name.rpartition("_")[2] for name in result["cases"]["name"]]
    result["test"] = {name: value for name, value in result["test"].items() if value is not None}
    return {key: rounded(result[key]) for key in KEPT}


def rounded(value: object) -> object:
    """``value`` with four decimals, all the way down."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return round(value, 4) if isinstance(value, float) else value
