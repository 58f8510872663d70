"""List the runs below folders and tell what they differ in, or repeat one from its record.

A run leaves record.json in its work directory: config, code, packages, data, seed, command, environment, duration and
results. --repeat trains the same again, in --work-dir, and says whether the numbers are the same.
"""

import math
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vdt3d.cli.config import quiet_imports
from vdt3d.cli.outputs import add_overwrite_argument

EXAMPLE = """vdt3d runs work_dirs --html runs.html
vdt3d runs --repeat work_dirs/classify/record.json --work-dir work_dirs/again"""
HEAD = ("run", "began", "took", "seed", "code", "state")
WORDS = 60  # characters of a setting that are shown


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="work directories, or folders of some")
    parser.add_argument("--scores", nargs="+", default=[], help="what is shown (default: the score of each run's best)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page, with the curves")
    add_overwrite_argument(parser)
    parser.add_argument("--repeat", type=Path, metavar="RECORD", help="train what this record.json tells of again")
    parser.add_argument("--work-dir", type=Path, help="of --repeat, a folder without a run")


def run(args: Namespace) -> None:
    if bool(args.repeat) == bool(args.folders) or bool(args.repeat) != bool(args.work_dir):
        raise ValueError("give folders whose runs are listed; or --repeat RECORD with --work-dir FOLDER")
    if args.html:
        from vdt3d.utils.outputs import check_outputs

        check_outputs([args.html], overwrite=args.overwrite)
    quiet_imports()
    if args.repeat:
        repeat(args.repeat, args.work_dir)
        return
    from rich.console import Console
    from rich.table import Table

    found = find_runs(args.folders)
    tables = [("Runs", *overview(found, args.scores))]
    if len(found) > 1:
        tables.append(("What they differ in", *differences(found)))
    console = Console(highlight=False, markup=False)
    for title, head, rows in tables:
        shown = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for name in head:  # what is cut short could not be told apart
            shown.add_column(name, no_wrap=name == "setting", overflow="fold")
        for row in rows:
            shown.add_row(*row)
        console.print(shown)
    if args.html:
        from vdt3d.visualization import write_runs_page

        write_runs_page(args.html, tables, curves(found, args.scores or chosen_scores(found)))
        console.print(f"the page is {args.html}", soft_wrap=True)


def find_runs(folders: Sequence[Path]) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Of each run below ``folders`` its work directory and its records, by a short name, in order of time.

    Raises:
        FileNotFoundError: a folder does not exist, or there is no record in any.
        ValueError: a record cannot be read.
    """
    from vdt3d.engine.run_record import NAME, read_records

    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is no folder")
    paths = sorted({path.parent for folder in folders for path in folder.rglob(NAME)})
    if not paths:
        raise FileNotFoundError(f"no {NAME} below {', '.join(map(str, folders))}; runs write it as they begin")
    found = {str(path): (path, read_records(path)) for path in paths}
    return dict(sorted(found.items(), key=lambda item: _of(item[1][1])["started"]))


def overview(runs: Mapping[str, tuple[Path, dict]], scores: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """The head of the table, and a row for each run."""
    scores = list(scores or chosen_scores(runs))
    rows = []
    for name, (_, records) in runs.items():
        record = _of(records)
        git = record["git"] or {}
        dirty = "*" if git.get("diff") or git.get("untracked") else ""
        minutes = record["seconds"] / 60
        took = f"{minutes / 60:.1f} h" if minutes >= 120 else f"{minutes:.1f} min"
        state = "done" if record["finished"] else "unfinished"
        cells = [name, record["started"][:16].replace("T", " "), took, str(record["seed"])]
        rows.append([*cells, git.get("commit", "")[:8] + dirty, state, *(_score(records, score) for score in scores)])
    return [*HEAD, *scores], rows


def chosen_scores(runs: Mapping[str, tuple[Path, dict]]) -> list[str]:
    """The scores that choose checkpoints; where no run has one, those of the first that has any, without intervals."""
    results = [record["results"] for _, records in runs.values() for record in records.values()]
    best = list(dict.fromkeys(name for result in results for name in result.get("best", {})))
    told = (result.get("last") or result.get("test") for result in results)
    return best or [name for name in next(filter(None, told), {}) if not name.endswith(("_low", "_high"))][:6]


def _score(records: Mapping[str, Mapping], score: str) -> str:
    """The best and the last validation, and the test, as far as they are known."""
    of_training, of_test = (records.get(kind, {}).get("results", {}) for kind in ("train", "test"))
    told = {
        "best": of_training.get("best", {}).get(score),
        "last": of_training.get("last", {}).get(score),
        "test": of_test.get("test", {}).get(score),
    }
    return ", ".join(f"{when} {value:.4g}" for when, value in told.items() if value is not None)


def differences(runs: Mapping[str, tuple[Path, dict]]) -> tuple[list[str], list[list[str]]]:
    """The head of a table, and a row for each setting, split of the data, package or part of the environment that is
    not the same in all runs.
    """
    from vdt3d.engine.config_names import run_settings
    from vdt3d.engine.run_record import config_of

    told = []
    for path, records in runs.values():
        record = _of(records)
        config = {name: value for name, value in config_of(record, path).to_dict().items() if name in run_settings()}
        surroundings = {kind: record[kind] for kind in ("seed", "data", "packages", "environment")}
        code = {"code": (record["git"] or {}).get("commit", "")[:8]}
        told.append(dict(_leaves({**config, "randomness": None, **surroundings, **code})))
    keys = dict.fromkeys(key for of_run in told for key in of_run if key not in ("work_dir", "launcher", "resume"))
    rows = [
        [key, *(_short(of_run[key]) if key in of_run else "" for of_run in told)]
        for key in keys
        if any(of_run.get(key) != told[0].get(key) for of_run in told)
    ]
    return ["setting", *runs], rows


def curves(runs: Mapping[str, tuple[Path, dict]], scores: Sequence[str]):
    """The validations of all runs as a figure; None where there are none."""
    from vdt3d.engine.report import read_validations
    from vdt3d.visualization import validation_curves

    read = {name: read_validations(path) for name, (path, _) in runs.items()}
    tables = {name: table for name, table in read.items() if table is not None}
    drawn = [score for score in scores if any(score in table for table in tables.values())]
    return validation_curves(tables, drawn) if drawn else None


def repeat(path: Path, work_dir: Path) -> None:
    """Train what a record tells of once more, and compare.

    Raises:
        ValueError: it is no record of a training, or there is a run in ``work_dir`` already.
    """
    from rich.console import Console

    from vdt3d.engine import Runner, distributed_left_after
    from vdt3d.engine.distributed import require_launcher
    from vdt3d.engine.run_record import NAME, changes, config_of, read_records

    require_launcher("none")
    before = read_records(path).get("train")
    if before is None:
        raise ValueError(f"{path} tells of a test only; repeat it with vdt3d test")
    if (work_dir / NAME).exists():
        raise ValueError(f"{work_dir} holds a run already; choose another --work-dir")
    config = config_of(before, work_dir)
    config.default_hooks = {**config.get("default_hooks", {}), "record": dict(type="RunRecordHook")}
    with distributed_left_after():
        Runner.from_cfg(config).train()
    now = read_records(work_dir)["train"]
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for line in changes(before, now):
        console.print(f"not as it was: {line}")
    differing = list(_compared(before["results"], now["results"]))
    console.print("\n".join(differing) if differing else "the results are the same, to the last digit")


def _compared(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    one, other = dict(_leaves(before)), dict(_leaves(now))
    for key in dict.fromkeys([*one, *other]):
        if one.get(key) != other.get(key):
            yield f"{key}: {one.get(key)} -> {other.get(key)}"


def _of(records: Mapping[str, dict]) -> dict[str, Any]:
    """The record of the training, or of a test that had none."""
    return records.get("train") or records["test"]


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting by its dotted name; lists of settings by number."""
    if isinstance(value, Mapping) and value:
        parts = value.items()
    elif isinstance(value, list | tuple) and any(isinstance(part, Mapping) for part in value):
        parts = enumerate(value)
    else:
        yield place, value
        return
    for key, part in parts:
        yield from _leaves(part, f"{place}.{key}" if place else str(key))


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) and math.isfinite(value) else str(value)
    return text if len(text) <= WORDS else f"{text[: WORDS - 1]}…"
