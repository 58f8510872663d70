"""Train every initialisation of a network alike, on shares of the labels, and tell which needs how many of them.

CONFIG is any config: its arms are the rows of its table ``inits``, or those that are known for its backbone
(configs/README.md). Every run has the steps, the order of cases and the augmentation of CONFIG, whatever its share of
the labels; validation chooses its checkpoint, which is tested once. Runs that have a result are skipped, others
continue where they stopped. Several processes may share a --work-dir: --shard
"$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" in a Slurm array, nothing under torchrun. Whoever finds all results there
writes the table, its csv and the curves.
"""

import json
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vdt3d.cli.config import add_config_arguments, overrides_of, quiet_imports
from vdt3d.cli.jobs import begin, conclude, perform, say, torchrun_share

if TYPE_CHECKING:
    from vdt3d.experiments.comparison import Run

EXAMPLE = "vdt3d compare configs/debug/resnet3d_scratch_15e_nodules.py --inits scratch vdt --fractions 0.25 1"


def add_arguments(parser: ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("--inits", nargs="+", metavar="ARM", help="arms to compare (default: all of the config)")
    parser.add_argument("--fractions", nargs="+", type=float, default=[0.1, 0.4, 1.0], help="shares of the labels")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--work-dir", type=Path, help="where everything goes (default: work_dirs/compare_CONFIG)")
    parser.add_argument(
        "--weights", nargs="+", type=_weights, default=[], metavar="ARM=FILE", help="start an arm from another file"
    )
    parser.add_argument(
        "--shard",
        type=_shard,
        default=torchrun_share(),
        metavar="I/N",
        help="do every N-th run, from the I-th (from 0) on",
    )
    parser.add_argument("--summarise", action="store_true", help="train nothing, sum up the results there are")


def run(args: Namespace) -> None:
    """Do this process's share of the runs, then sum up.

    Raises:
        SystemExit: 1 if runs failed, 143 if one was asked to stop.
    """
    names, configs = arms(args)
    from vdt3d.experiments.comparison import Run, collect, summarise

    base = args.work_dir or Path("work_dirs", f"compare_{args.config.stem}")
    # Seed by seed, so that a comparison that is stopped has all its arms.
    every = (Run(name, share, seed) for seed in args.seeds for share in args.fractions for name in names)
    runs = list(dict.fromkeys(every))
    failed = []
    if not args.summarise:
        index, count = args.shard
        jobs = plan(args.config, configs, runs, base)
        failed = perform(jobs[index::count], "compare", debug=args.debug)
    results, missing = collect(runs, base)
    if not missing or args.summarise:
        say(summarise(results, base))
        say(f"tables and curves are in {base}")
    conclude("runs", missing=len(missing), total=len(runs), failed=failed)


def arms(args: Namespace) -> tuple[list[str], dict[str, tuple[dict[str, object], Any]]]:
    """Return the names of the arms, and for each the overrides of its runs and its config.

    Raises:
        FileNotFoundError: there is no such config.
        ValueError: an arm that the config does not have, an arm without known weights, or ``--cfg-options init=...``.
    """
    overrides, weights = overrides_of(args), dict(args.weights)
    if "init" in overrides:
        raise ValueError(f"--cfg-options init={overrides['init']}: name what to compare with --inits")
    quiet_imports()
    from vdt3d.engine.config import init_names, read_config

    known = init_names(args.config, overrides)
    names = args.inits or known
    for name in (*names, *weights):
        if name not in known:
            raise ValueError(f"there is no arm '{name}' of {args.config.name}; there are {', '.join(known)}")
    configs = {}
    for name in names:
        of_arm = overrides | {"init": name} | ({"load_from": weights[name]} if name in weights else {})
        configs[name] = (of_arm, read_config(args.config, of_arm))
    return names, configs


class Job(NamedTuple):
    """All that the process of a run needs; none of it needs the stack, which the process has yet to import."""

    name: str
    folder: Path
    config: Path
    overrides: dict[str, object]
    score: str
    seed: int
    indices: list[int] | None
    description: Mapping[str, Any]
    file = "run.json"  # where the description goes

    def run(self) -> None:
        """Train, test, and write result.json."""
        begin()
        quiet_imports()
        from vdt3d.engine.config import read_config
        from vdt3d.experiments.comparison import configured, train_and_test
        from vdt3d.utils.files import write_aside

        config = read_config(self.config, self.overrides)
        config = configured(config, self.folder, seed=self.seed, indices=self.indices)
        known = {key: value for key, value in self.description.items() if key != "cases"}
        text = json.dumps({**known, **train_and_test(config, self.score)})
        write_aside(self.folder / "result.json", lambda aside: aside.write_text(text + "\n", encoding="utf-8"))


def plan(path: Path, arms: Mapping[str, tuple[dict[str, object], Any]], runs: "Sequence[Run]", base: Path) -> list[Job]:
    """The jobs of all runs, checked as far as can be before the first of them begins, with what they need downloaded.

    Args:
        path: the config.
        arms: the overrides and the config of each arm.
        base: folder of the comparison.

    Raises:
        FileNotFoundError: the file an arm starts from is not there.
        ValueError: the arms differ in more than their start, or cannot be compared case by case, a fraction is out of
            range, or a download failed.
    """
    from vdt3d.experiments.comparison import check_alike, describe, label_subset, repeated, score_of, training_cases
    from vdt3d.experiments.digests import data_digest
    from vdt3d.models.weights.files import local_copy

    configs = {arm: config for arm, (_, config) in arms.items()}
    check_alike(configs)
    for arm, config in configs.items():
        source = config.get("load_from")
        if source and not local_copy(source).is_file():
            raise FileNotFoundError(f"{arm} starts from {source}, which is not there; fetch it or --weights {arm}=FILE")
    first = next(iter(configs.values()))
    score, by_epoch, cases = score_of(first), first.train_cfg.get("by_epoch", True), training_cases(first)
    total, jobs, data = len(cases.groups), [], data_digest(first, ("train", "val", "test"))
    for of_run in runs:
        subset = label_subset(cases, of_run.fraction, of_run.seed)
        jobs.append(
            Job(
                name=str(of_run),
                folder=of_run.folder(base),
                config=path,
                overrides=arms[of_run.arm][0],
                score=score,
                seed=of_run.seed,
                indices=repeated(subset, total, by_epoch=by_epoch) if len(subset) < total else None,
                description=describe(configs[of_run.arm], of_run, subset=sorted(subset)) | {"data": data},
            )
        )
    return jobs


def _weights(text: str) -> tuple[str, str]:
    arm, divider, file = text.partition("=")
    if not arm or not divider or not file:
        raise ArgumentTypeError(f"wanted ARM=FILE, such as vdt=epoch_48.pth, got '{text}'")
    return arm, file


def _shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise ArgumentTypeError(f"wanted I/N with I from 0 to N - 1, such as 0/4, got '{text}'")
    return int(index), int(count)
