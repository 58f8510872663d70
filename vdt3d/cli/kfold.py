"""Train a config once per fold, test each on the cases it has not seen, and score all those cases together.

Data sets of segmentation divide their training and validation cases as they do for `fold` and `folds` (or as their
split file says); of others, the training cases are dealt out, patient by patient. The last checkpoint of a fold is
tested, since the best one would be chosen by the cases held out. Folds that have a result are skipped, others go on
where they stopped. Several processes may share a --work-dir: --fold "$SLURM_ARRAY_TASK_ID" in a Slurm array, nothing
under torchrun. Whoever finds all results there sums up.
"""

import math
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vdt3d.cli.config import add_config_arguments, load_run_config, run_name
from vdt3d.cli.jobs import begin, conclude, perform, say, torchrun_share

EXAMPLE = "vdt3d kfold my_config.py --folds 5 --work-dir work_dirs/folds"


def add_arguments(parser: ArgumentParser) -> None:
    parser.set_defaults(launcher="none")
    add_config_arguments(parser)
    parser.add_argument("--folds", type=int, default=5, help="how many (default: 5)")
    parser.add_argument("--fold", type=int, nargs="+", metavar="K", help="only these, from 0 on (default: all)")
    parser.add_argument("--work-dir", type=Path, help="where everything goes (default: work_dirs/CONFIG_kfold)")
    parser.add_argument("--summarise", action="store_true", help="train nothing, sum up the results there are")


def run(args: Namespace) -> None:
    """Do this process's share of the folds, then sum up.

    Raises:
        SystemExit: 1 if folds failed, 143 if one was asked to stop.
    """
    base = args.work_dir or Path("work_dirs", f"{run_name(args)}_kfold")
    if bad := [number for number in args.fold or () if not 0 <= number < args.folds]:
        raise ValueError(f"--fold {bad[0]}: they are numbered from 0 to {args.folds - 1}")
    config = load_run_config(args, "train_dataloader", "test_dataloader")
    from vdt3d.experiments.folds import fold_configs, pool

    configs, failed = fold_configs(config, args.folds, base), []
    if not args.summarise:
        rank, size = torchrun_share()
        numbers = (args.fold or range(args.folds))[rank::size]
        jobs = [_job(args, configs[number], number, base) for number in numbers]
        failed = perform(jobs, "kfold", debug=args.debug)
    done = [number for number in range(args.folds) if (base / f"fold{number}/result.json").exists()]
    if len(done) == args.folds or (args.summarise and done):
        from rich.console import Console

        report = pool(configs[0], base, args.folds)
        Console(highlight=False).print(table(report))
        say(f"the cases held out: {report['held_out']}")
        say(f"all scores are in {base / 'kfold.json'}, the cases in {base / 'out_of_fold.csv'}")
    conclude("folds", missing=args.folds - len(done), total=args.folds, failed=failed)


class Job(NamedTuple):
    """All that the process of a fold is told; nothing of it needs the stack, which the process has yet to import."""

    name: str
    folder: Path
    args: dict[str, Any]
    number: int
    description: Mapping[str, Any]
    file = "fold.json"

    def run(self) -> None:
        """Train, test, and write result.json."""
        begin()
        config = load_run_config(Namespace(**self.args))
        from vdt3d.experiments.folds import fold_configs, train_fold
        from vdt3d.utils.files import write_json

        config = fold_configs(config, self.args["folds"], self.folder.parent)[self.number]
        write_json(self.folder / "result.json", {**self.description, **train_fold(config)})


def _job(args: Namespace, config, number: int, base: Path) -> Job:
    from vdt3d.experiments.digests import config_digest, data_digest

    told = {name: vars(args)[name] for name in ("config", "cfg_options", "work_dir", "launcher", "folds")}
    description = {"fold": number, "folds": args.folds, "config": args.config.name}
    description |= {"digest": config_digest(config), "data": data_digest(config, ("train", "test"))}
    return Job(f"fold {number}", base / f"fold{number}", told, number, description)


def table(report: Mapping[str, Any]):
    """A row a score: of all held-out cases together, its 95 % interval, and mean and spread over the folds."""
    from rich.table import Table

    rows = Table("score", "pooled", "95 % interval", "mean of folds", "std", box=None, pad_edge=False)
    pooled = report["pooled"]
    for name in dict.fromkeys([*pooled, *report["mean"]]):
        if name.endswith(("_low", "_high")):
            continue
        ends = [pooled.get(f"{name}_{end}", math.nan) for end in ("low", "high")]
        ends = [] if any(map(math.isnan, ends)) else ends
        cells = (pooled.get(name), report["mean"].get(name), report["std"].get(name))
        of_all, mean, std = ("" if value is None else f"{value:.4f}" for value in cells)
        rows.add_row(name, of_all, " to ".join(f"{end:.3f}" for end in ends), mean, std)
    return rows
