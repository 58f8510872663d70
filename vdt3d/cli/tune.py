"""Search settings of a config with Optuna: each trial is a training, judged by its best validation.

SPACE is a yaml file from settings (dots go deeper) to lists of choices or to ranges, such as
`optim_wrapper.optimizer.lr: {low: 1.0e-5, high: 1.0e-2, log: true}`.

Start the command as often as there are GPUs or Slurm jobs, with the same --work-dir: they share the trials. Given again
after a stop or a kill, it goes on. Test cases have no say.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vdt3d.cli.config import add_config_arguments, load_run_config, run_name
from vdt3d.cli.jobs import begin, say

EXAMPLE = "vdt3d tune my_config.py --space space.yaml --trials 20"


def add_arguments(parser: ArgumentParser) -> None:
    parser.set_defaults(launcher="none")
    add_config_arguments(parser)
    parser.add_argument("--space", type=Path, required=True, help="yaml file of what may be chosen")
    parser.add_argument("--trials", type=int, default=20, help="of all processes together (default: 20)")
    parser.add_argument("--score", help="validation score to go by (default: what chooses checkpoints)")
    parser.add_argument("--seed", type=int, default=0, help="of the proposals")
    parser.add_argument("--work-dir", type=Path, help="where everything goes (default: work_dirs/CONFIG_tune)")


def run(args: Namespace) -> None:
    """Search, with other processes that share the work directory, and report.

    Raises:
        ValueError: the config, the space or the work directory does not fit.
        SystemExit: 1 if no trial succeeded.
    """
    args.work_dir = args.work_dir or Path("work_dirs", f"{run_name(args)}_tune")
    config = load_run_config(args, "train_dataloader")
    from vdt3d.experiments.digests import study_digests

    try:
        from vdt3d.experiments.tuning import Space, as_options, greater_is_better, search, summarise, trainer
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise ValueError("a search is done by a package that is not there: pip install 'vdt3d[tune]'") from error
    score = args.score or config.get("default_hooks", {}).get("checkpoint", {}).get("save_best")
    if score is None:
        raise ValueError("nothing tells which score to go by; say --score, such as --score dice")
    space = Space.read(args.space)
    space.check(config)
    begin()
    study = search(
        args.work_dir,
        space,
        trainer(config, score),
        trials=args.trials,
        greater=greater_is_better(score, config),
        seed=args.seed,
        identity=study_digests(config, score),
    )
    from rich.console import Console

    report = summarise(study, space, args.work_dir, score)
    Console(highlight=False).print(table(report))
    say(f"all trials are in {args.work_dir / 'tune.json'}, drawn in {args.work_dir / 'tune.png'}")
    if report["best"] is None:
        errors = [f"  {trial['number']}: {trial.get('error', trial['state'])}" for trial in report["trials"]]
        say("no trial succeeded:\n" + "\n".join(errors), "bold red")
        raise SystemExit(1)
    say(f"best: --cfg-options {' '.join(as_options(report['best']['settings']))}", "bold")


def table(report: Mapping[str, Any]):
    """The ten best trials, with their settings and what these matter."""
    from rich.table import Table

    names = list(report["trials"][0]["settings"]) if report["trials"] else []
    rows = Table("trial", report["score"], *(name.replace(".", "\n.") for name in names), box=None, pad_edge=False)
    finished = [trial for trial in report["trials"] if trial["state"] == "complete"]
    for trial in sorted(finished, key=lambda trial: trial["value"], reverse=report["greater"])[:10]:
        cells = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in trial["settings"].values()]
        rows.add_row(str(trial["number"]), f"{trial['value']:.4f}", *cells)
    if report["importances"]:
        rows.add_row("importance", "", *(f"{report['importances'][name]:.0%}" for name in names))
    return rows
