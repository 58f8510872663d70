"""Look a data set over before learning from it: odd cases, copies and leaks, as a page and as json.

Of a config its training, validation and test cases, of a folder the scans and pictures in it; see docs/inspection.md.
"""

from argparse import ArgumentParser, Namespace
from collections import Counter
from pathlib import Path

from vdt3d.cli.config import add_config_arguments, load_config, pattern, quiet_imports, run_name
from vdt3d.cli.outputs import add_overwrite_argument

EXAMPLE = """vdt3d inspect configs/debug/classify.py
vdt3d inspect my_scans --out inspection"""
SHOWN, PICTURED = 40, 8  # findings of each kind on the page, cases of each finding
FILES = ("inspection.html", "inspection.json")
AT_ONCE = 32  # cases a worker is given
LAYOUTS = {"train.csv": "GITract", "dataset.json": "VolumeSegmentation"}  # a folder with such a file is such a data set


def add_arguments(parser: ArgumentParser) -> None:
    add_config_arguments(parser, "config file, or a folder of scans or pictures")
    parser.add_argument("--out", type=Path, help="folder of the page (default: work_dirs/CONFIG/inspection)")
    add_overwrite_argument(parser)
    parser.add_argument("--workers", type=int, help="processes (default: half of the processor's threads, at most 8)")
    parser.add_argument(
        "--group", type=pattern, metavar="PATTERN", help="whose first bracket, in a file's name, is the patient"
    )


def run(args: Namespace) -> None:
    """Inspect the cases, and print how many findings there are of each kind.

    Raises:
        SystemExit: 1 if a case could not be read; the others are inspected.
    """
    quiet_imports()
    from rich.console import Console

    from vdt3d.datasets.inspection import KINDS
    from vdt3d.utils.outputs import check_outputs

    if args.out is not None:
        check_outputs([args.out / name for name in FILES], overwrite=args.overwrite)
    out = args.out or Path("work_dirs") / run_name(args) / "inspection"
    findings = inspect(find_entries(args), out, title=args.config.name, workers=args.workers)
    console = Console(highlight=False, markup=False)
    for kind, count in Counter(finding.kind for finding in findings).items():
        console.print(f"{KINDS[kind]}: {count}", soft_wrap=True)
    console.print(f"{len(findings)} findings: {out / 'inspection.html'}", soft_wrap=True)
    if any(finding.kind == "unreadable" for finding in findings):
        raise SystemExit(1)


def find_entries(args: Namespace) -> list:
    """What is to be looked at.

    Raises:
        ValueError: the config has no data set, or the folder no scan; ``--group`` or overrides that do not apply.
    """
    from vdt3d.datasets.inspection import config_entries, folder_entries

    if not args.config.is_dir():
        if args.group:
            raise ValueError("--group is for folders; the data set of a config knows its patients")
        config = load_config(args)
        loaders = {split: config.get(f"{split}_dataloader") for split in ("train", "val", "test")}
        datasets = {split: loader["dataset"].to_dict() for split, loader in loaders.items() if loader}
        if not datasets:
            raise ValueError(f"{args.config}: there is no data set in it")
        return config_entries(datasets)
    if args.cfg_options:
        raise ValueError("--cfg-options are for configs, not for a folder")
    kind = next((kind for file, kind in LAYOUTS.items() if (args.config / file).is_file()), None)
    if kind is None:
        return folder_entries(args.config, args.group)
    from vdt3d.registry import DATASETS

    dataset = {"type": kind, "data_root": str(args.config)} | ({"group": args.group} if args.group else {})
    layout = DATASETS.build(dataset | {"split": "all"}).find_layout()
    splits = {"labelled": "all"} | ({"test": "test"} if layout.test else {})
    return config_entries({name: dataset | {"split": split} for name, split in splits.items()})


def inspect(entries: list, out: Path, *, title: str, workers: int | None = None) -> list:
    """Measure all cases, and write ``out``/inspection.html and inspection.json; the findings, the gravest first."""
    from vdt3d.datasets.inspection import LEVELS, find_all
    from vdt3d.utils.files import write_json
    from vdt3d.utils.pool import each, settled_workers
    from vdt3d.visualization.inspection import write_inspection_page

    workers = settled_workers(workers)
    chunks = [entries[start : start + AT_ONCE] for start in range(0, len(entries), AT_ONCE)]
    answers = each(measure_all, chunks, workers=workers, initializer=quiet_imports, title="read")
    cases = [facts for chunk in answers for facts in chunk]
    findings = find_all(cases)
    pictures = _pictures(entries, cases, findings, workers)
    write_inspection_page(
        out / "inspection.html",
        title,
        counts=_counts(cases),
        kinds=_kinds(cases, findings, pictures),
        charts=_charts(cases),
    )
    hidden = {"digest", "whole", "slices", "group"}
    told = [
        {key: value for key, value in vars(case).items() if key not in hidden}
        | {"regions": case.regions and {label: region._asdict() for label, region in case.regions.items()}}
        for case in cases
    ]
    report = {
        "counts": _counts(cases),
        "findings": [
            finding._asdict() | {"cases": [cases[number].name for number in finding.cases]} for finding in findings
        ],
        "percentile_levels": LEVELS,
        "cases": told,
    }
    write_json(out / "inspection.json", report)
    return findings


def measure_all(entries: list) -> list:
    """The facts of some cases, in a process of its own."""
    from vdt3d.datasets.inspection import measure

    return [measure(entry) for entry in entries]


def picture_of(job: tuple) -> bytes:
    """A slice of a case, in a process of its own."""
    from vdt3d.datasets.inspection import read_entry
    from vdt3d.visualization.inspection import case_picture

    entry, position = job
    return case_picture(read_entry(entry), position)


def _pictures(entries: list, cases: list, findings: list, workers: int) -> dict:
    """JPEGs of what the page shows, by case and slice."""
    from vdt3d.utils.pool import each

    wanted = {}
    for _, finding in _shown(findings):
        for number, position, _ in _told(finding):
            if not cases[number].problem:
                wanted[number, position] = (entries[number], position)
    answers = each(picture_of, list(wanted.values()), workers=workers, initializer=quiet_imports, title="draw")
    return dict(zip(wanted, answers, strict=True))


def _shown(findings: list) -> list:
    """Number within its kind, and finding, of those on the page."""
    seen: Counter = Counter()
    numbered = []
    for finding in findings:
        seen[finding.kind] += 1
        numbered.append((seen[finding.kind], finding))
    return [(number, finding) for number, finding in numbered if number <= SHOWN]


def _told(finding) -> list:
    """(case, slice, note) of the cases of a finding that the page shows."""
    count = len(finding.cases)
    slices, notes = finding.slices or (None,) * count, finding.notes or ("",) * count
    return list(zip(finding.cases, slices, notes, strict=True))[:PICTURED]


def _kinds(cases: list, findings: list, pictures: dict) -> list[dict]:
    """The findings as the page wants them."""
    from vdt3d.datasets.inspection import KINDS

    counts, shown = Counter(finding.kind for finding in findings), {kind: [] for kind in KINDS}
    for _, finding in _shown(findings):
        told = [
            {"name": cases[number].name, "note": note, "picture": pictures.get((number, position))}
            for number, position, note in _told(finding)
        ]
        shown[finding.kind].append({"text": finding.text, "cases": told, "more": len(finding.cases) - len(told)})
    return [
        {"title": KINDS[kind], "count": counts[kind], "more": counts[kind] - len(listed), "findings": listed}
        for kind, listed in shown.items()
        if listed
    ]


def _counts(cases: list) -> list[dict]:
    """Of each split: cases, patients, those that are readable."""
    rows = []
    for split in dict.fromkeys(split for case in cases for split in case.splits):
        chosen = [case for case in cases if split in case.splits]
        groups = {case.group for case in chosen if case.group}
        row = {"split": split, "cases": len(chosen), "patients": len(groups) or "not told"}
        rows.append(row | {"readable": sum(not case.problem for case in chosen)})
    return rows


def _charts(cases: list) -> list:
    import numpy as np

    from vdt3d.datasets.inspection import LEVELS
    from vdt3d.datasets.inspection.findings import measures
    from vdt3d.visualization.inspection import class_bars, histograms, intensities

    good = [number for number, case in enumerate(cases) if not case.problem]
    if not good:
        return []
    values = {name: each for name, (each, _) in measures(cases, good).items()}
    if sizes := [size for number in good for size in cases[number].box_sizes or ()]:
        values["longest side of boxes (mm)"] = np.array(sizes)
    if dice := [score for number in good for score in cases[number].annotators.values()]:
        values["Dice of two annotators"] = np.array(dice)
    charts = [intensities(np.array([cases[number].percentiles for number in good]), LEVELS), histograms(values)]
    targets = {
        row["split"]: Counter(case.target for case in cases if case.target and row["split"] in case.splits)
        for row in _counts(cases)
    }
    return [class_bars(targets), *charts] if any(targets.values()) else charts
