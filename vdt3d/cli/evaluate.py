"""Score predicted label maps against their references: overlap, surface distances, and what they come to."""

import math
import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from vdt3d.cli.config import pattern

EXAMPLE = "vdt3d evaluate labels references --labels liver=1 tumour=2 --out scores.json"
DEFINITIONS = (
    "monai",
    "medpy",
    "chaos",
    "lits",
    "deepmind",
)  # of vdt3d.evaluation.surface, which --help need not import


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("pred", type=Path, metavar="PRED", help="a predicted label map, or a folder of them")
    parser.add_argument("ref", type=Path, metavar="REF", help="its reference, or a folder with one of each name")
    parser.add_argument(
        "--labels",
        nargs="+",
        type=_label,
        metavar="LABEL",
        help="what is scored: 1 2 3, or by name liver=1 tumour=2, or regions both=1,2 "
        "(default: every label of REF but 0, for which REF is read twice)",
    )
    parser.add_argument("--out", type=Path, required=True, help="json file for the scores of each case and the summary")
    parser.add_argument("--csv", type=Path, help="also a table with a row per case")
    parser.add_argument(
        "--definition", choices=DEFINITIONS, default="monai", help="whose rules the distances follow (default: monai)"
    )
    parser.add_argument(
        "--tolerance",
        nargs="+",
        type=_tolerance,
        default=[("", 1.0)],
        metavar="MM",
        help="of nsd, in mm: one number, or one for each label, liver=1.5 tumour=1 (default: 1)",
    )
    parser.add_argument(
        "--group",
        type=pattern,
        metavar="PATTERN",
        help="whose first bracket, in a case's name, is the patient: intervals are by patient (default: by case)",
    )
    parser.add_argument(
        "--ignore-index", type=int, default=255, help="voxels of REF that bear it are left out; -1: none (default: 255)"
    )
    parser.add_argument("--workers", type=int, default=1, help="cases that are scored side by side (default: 1)")


def run(args: Namespace) -> None:
    from rich.console import Console

    from medseg.evaluation.report import check_suffix, save_report
    from medseg.evaluation.scores import summary, tolerance_of
    from vdt3d import __version__
    from vdt3d.evaluation.overlap import regions_of

    check_suffix(args.out, (".json",))
    if args.csv is not None:
        check_suffix(args.csv, (".csv",))
    pairs = match(args.pred, args.ref)
    ignore_index = None if args.ignore_index < 0 else args.ignore_index
    labels = _named(args.labels) if args.labels else _labels_of(pairs, ignore_index, args.workers)
    regions_of(labels.values(), ignore_index)  # refused now rather than case by case
    tolerance = _tolerances(args.tolerance)
    tolerance_of(labels, tolerance)
    settings = {"definition": args.definition, "tolerance": tolerance, "ignore_index": ignore_index}
    groups = group_of_names(pairs, args.group)
    cases = score(pairs, labels, args.workers, **settings)
    found = summary(cases, groups=groups)
    report = {"version": __version__, **settings, "labels": labels, "cases": cases, "summary": found}
    for path in filter(None, (args.out, args.csv)):
        save_report(path, report)
    Console(highlight=False).print(table(report["summary"]))


def match(pred: Path, ref: Path) -> dict[str, tuple[Path, Path]]:
    """Prediction and reference of each case, by the file name without its suffix (one pair: by the reference's).

    Files of other formats and hidden files are passed over.

    Raises:
        ValueError: a path does not exist, or a folder meets a file; all cases without a partner, or with two files.
    """
    for path in (pred, ref):
        if not path.exists():
            raise ValueError(f"{path} does not exist; check the path")
    if pred.is_dir() != ref.is_dir():
        raise ValueError(f"{pred} and {ref}: one is a folder, the other a file; give two folders or two files")
    if ref.is_file():
        return {_case(ref) or ref.name: (pred, ref)}
    problems: list[str] = []
    guesses, truths = (_files(folder, problems) for folder in (pred, ref))
    problems += [f"{pred}: no prediction of {case} ({truths[case].name})" for case in sorted(truths.keys() - guesses)]
    problems += [f"{ref}: no reference of {case} ({guesses[case].name})" for case in sorted(guesses.keys() - truths)]
    if not truths:
        problems.append(f"{ref}: holds no label map; give the folder whose files they are")
    if problems:
        raise ValueError(_listed("predictions and references do not pair up", problems))
    return {case: (guesses[case], truths[case]) for case in sorted(truths)}


def _files(folder: Path, problems: list[str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        case = _case(path)
        if case is None or path.name.startswith(".") or not path.is_file():
            continue
        if case in files:
            problems.append(f"{folder}: {files[case].name} and {path.name} are one case; keep one of them")
        files.setdefault(case, path)
    return files


def _case(path: Path) -> str | None:
    """The name without the suffix of a known format; None for other files."""
    from vdt3d.io.read import FORMATS

    suffixes = (suffix for form in FORMATS for suffix in form.suffixes if path.name.lower().endswith(suffix))
    suffix = next(suffixes, None)
    return None if suffix is None else path.name[: -len(suffix)]


def score(
    pairs: Mapping[str, tuple[Path, Path]], labels: Mapping[str, int | list[int]], workers: int, **settings
) -> dict[str, dict[str, dict[str, float]]]:
    """``case_scores`` of each pair of files.

    Raises:
        ValueError: all files that cannot be read, and all pairs that lie on different grids.
    """
    found = _each(partial(_score, labels=labels, settings=settings), pairs.values(), workers, "scoring")
    return dict(zip(pairs, found, strict=True))


def _score(pair: tuple[Path, Path], labels: Mapping[str, int | list[int]], settings: Mapping) -> dict:
    from medseg.evaluation.scores import case_scores
    from vdt3d.io import read_label_map

    guess, truth = map(read_label_map, pair)
    try:
        return case_scores(guess, truth, labels, **settings)
    except ValueError as error:
        raise ValueError(f"{pair[0]}: {error}") from error


def _labels_of(
    pairs: Mapping[str, tuple[Path, Path]], ignore_index: int | None, workers: int
) -> dict[str, int | list[int]]:
    """Every label of the references but 0 and the ignored one."""
    refs = [ref for _, ref in pairs.values()]
    found = set().union(*_each(_labels_in, refs, workers, "looking for labels")) - {0, ignore_index}
    if not found:
        raise ValueError(
            f"the references ({refs[0]} ...) hold no label but 0 and the ignored {ignore_index}; name what is scored "
            "with --labels, or ignore nothing with --ignore-index -1"
        )
    return {str(label): label for label in sorted(found)}


def _labels_in(path: Path) -> set[int]:
    import pandas as pd

    from vdt3d.io import read_label_map

    return set(map(int, pd.unique(read_label_map(path).array.ravel())))  # without the sort that np.unique begins with


def _each(task: Callable, things: Collection, workers: int, title: str) -> list:
    """``task`` of each thing, ``workers`` side by side, with a bar on a terminal.

    Threads do: reading, comparing and searching leave the interpreter alone, and processes would import all anew.

    Raises:
        ValueError: those of all tasks.
    """
    from rich.console import Console
    from rich.progress import track

    console = Console()
    with ThreadPoolExecutor(workers) as pool:
        done = pool.map(partial(_attempt, task), things)
        bar = track(done, title, len(things), console=console, disable=not console.is_terminal, transient=True)
        done = list(bar)
    problems = [str(result) for result in done if isinstance(result, ValueError)]
    if problems:
        raise ValueError(_listed(f"{len(problems)} of {len(done)} cases cannot be scored", problems))
    return done


def _attempt(task: Callable, thing: object) -> object:
    """What the task makes of it, or the ValueError it raises, so that one bad file does not hide the next."""
    try:
        return task(thing)
    except ValueError as error:
        return error


def _listed(heading: str, problems: list[str]) -> str:
    return "\n  ".join([f"{heading}:", *problems]) if len(problems) > 1 else problems[0]


def _label(text: str) -> tuple[str, int | list[int]]:
    """``3``, ``liver=1`` or ``both=1,2`` as a name and what it stands for."""
    name, _, numbers = text.rpartition("=")
    try:
        labels = [int(number) for number in numbers.split(",")]
    except ValueError:
        raise ArgumentTypeError(f"'{text}' is none of the forms 3, liver=1, both=1,2") from None
    return name or numbers, labels[0] if len(labels) == 1 else labels


def _tolerance(text: str) -> tuple[str, float]:
    """Return ``1.5`` or ``liver=1.5`` as a name ('' for all labels) and a distance in mm."""
    name, _, number = text.rpartition("=")
    try:
        distance = float(number)
    except ValueError:
        distance = -1.0
    if not 0 <= distance < float("inf"):
        raise ArgumentTypeError(f"'{text}' is no distance in mm, such as 1.5 or liver=1.5")
    return name, distance


def _tolerances(given: list[tuple[str, float]]) -> float | dict[str, float]:
    """Return one distance for all labels, or one for each label that is named."""
    names = [name for name, _ in given]
    if names == [""]:
        return given[0][1]
    if "" in names or len({*names}) < len(names):
        raise ValueError("--tolerance: give one number, or one for each label by name, such as liver=1.5 tumour=1")
    return dict(given)


def group_of_names(names: Collection[str], group: str | None) -> dict[str, str] | None:
    """Return the patient of each case by the first bracket of the pattern ``group``; None without a pattern.

    Raises:
        ValueError: the pattern finds no patient in a name.
    """
    if group is None:
        return None
    found = {name: re.search(group, name) for name in names}
    if lacking := [name for name, match in found.items() if match is None]:
        raise ValueError(f"--group {group!r} finds no patient in the case name '{lacking[0]}'")
    return {name: match[1] for name, match in found.items()}


def _named(labels: list[tuple[str, int | list[int]]]) -> dict[str, int | list[int]]:
    names = [name for name, _ in labels]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"--labels names {', '.join(twice)} twice; give each its own name")
    return dict(labels)


def table(summary: Mapping):
    """A row per label and one for their mean: means over cases; nan and inf: how many values these leave out."""
    from rich.table import Table

    distances = ("hd95", "assd", "mssd", "nsd")
    rows = Table("label", "dice", "95 %", "pooled", *distances, "nan", "inf", box=None, pad_edge=False)
    for label, entry in [*summary["labels"].items(), ("mean", summary["mean"])]:
        dice = entry["dice"]
        rows.add_row(
            label,
            f"{dice['mean']:.3f}",
            "" if math.isnan(dice["low"]) else f"{dice['low']:.3f}-{dice['high']:.3f}",
            f"{entry['dice_pooled']:.3f}",
            *(f"{entry[score]['mean']:.3f}" for score in distances),
            str(dice["absent"]),
            str(entry["hd95"]["infinite"]),
        )
    return rows
