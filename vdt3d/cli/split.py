"""Deal the scans of a segmentation data set out to folds: patients stay together, empty slices are shared out evenly.

The file is a list of folds as nnU-Net's splits_final.json: the data sets here take it as ``split_file``.
"""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

from vdt3d.cli.config import pattern, quiet_imports
from vdt3d.cli.outputs import add_overwrite_argument

EXAMPLE = """vdt3d split my_task --folds 5 --out folds.json
vdt3d split my_task --group "(patient[0-9]+)_" --out folds.json"""
DESCRIPTIONS = ("dataset.json", "train.csv")  # of a data set, which its folds must not replace


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("root", type=Path, help="folder of the data set: the GI Tract challenge's, MSD's or nnU-Net's")
    parser.add_argument("--folds", type=int, default=5, help="each of them is held out once (default: 5)")
    parser.add_argument(
        "--by-day",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="of the patients with several scans, whose scans may come into different folds (default: 0)",
    )
    parser.add_argument(
        "--group",
        type=pattern,
        metavar="PATTERN",
        help="whose first bracket, in a scan's name, is the patient (default: each scan is dealt out by itself; the GI "
        "Tract challenge names its patients)",
    )
    parser.add_argument("--seed", type=int, default=0, help="another one, another deal (default: 0)")
    parser.add_argument("--out", type=Path, required=True, help="json file for the folds")
    add_overwrite_argument(parser)


def run(args: Namespace) -> None:
    quiet_imports()
    from rich.console import Console

    from medseg.evaluation.report import check_suffix
    from vdt3d.datasets.splits import stratified_group_folds
    from vdt3d.utils.outputs import check_outputs

    check_suffix(args.out, (".json",))
    check_outputs([args.out], inputs=[args.root / name for name in DESCRIPTIONS], overwrite=args.overwrite)
    slices = slice_table(args.root, args.group)
    folds = stratified_group_folds(slices, args.folds, by_day=args.by_day, seed=args.seed)
    write_folds(args.out, folds, dict(zip(slices.name, slices.group, strict=True)))
    console = Console(highlight=False, markup=False)
    known = bool(args.group) or set(slices.group) != set(slices.name)
    console.print(table(folds, slices, patients=known))
    if not known:
        Console(stderr=True, highlight=False, markup=False).print(
            "Which scans are of one patient is not known, so each scan was dealt out by itself. If a patient has "
            "several scans, these folds leak: --group PATTERN names the patient in a scan's name, such as "
            f"'{slices.name.iloc[0]}'.",
            soft_wrap=True,
        )
    if torn := folds[0]["by_day"]:
        console.print(f"split by day: {', '.join(torn)}", soft_wrap=True)


def slice_table(root: Path, group: str | None = None):
    """A row for each slice of the labelled scans, as ``stratified_group_folds`` wants them.

    Raises:
        ValueError: there is no data set in ``root``, the pattern fits no name, or a scan has no labels.
    """
    import pandas as pd

    from medseg.datasets import GITract, VolumeSegmentation
    from medseg.datasets.gi_tract import TABLE
    from vdt3d.structures import IGNORED

    kind = GITract if (root / TABLE).is_file() else VolumeSegmentation
    dataset = kind(root, split="all", group=group)
    found = []
    for case, labels_DHW in _labels(dataset):
        empty_D = ((labels_DHW == 0) | (labels_DHW == IGNORED)).all(axis=(1, 2))
        found.append(pd.DataFrame({"name": case["name"], "group": case["group"], "empty": empty_D}))
    return pd.concat(found, ignore_index=True)


def _labels(dataset) -> Iterator[tuple[dict, object]]:
    """The entry of each scan and its labels (D, H, W), with a bar on a terminal; no image is read."""
    from rich.console import Console
    from rich.progress import track

    from medseg.datasets import GITract
    from vdt3d.io import read_label_map

    console = Console(stderr=True)
    numbers = range(len(dataset))
    for number in track(numbers, "looking for empty slices", console=console, disable=not console.is_terminal):
        case = dataset.get_data_info(number)
        if case["label"] is None:
            raise ValueError(f"case '{case['name']}' has no labels to tell empty slices by; take it out")
        lazy = isinstance(dataset, GITract)  # whose pictures stay closed
        yield case, (dataset.read(case).label_map if lazy else read_label_map(case["label"])).array[0]


def write_folds(path: Path, folds: list[dict[str, list[str]]], groups: dict[str, str]) -> None:
    """Write the folds, as they read back without a leak.

    Raises:
        ValueError: a scan or patient is in two parts (a fault of ours).
    """
    from vdt3d.datasets.splits import check_leaks
    from vdt3d.utils.files import write_aside

    def write(aside: Path) -> None:
        aside.write_text(json.dumps(folds, indent=1) + "\n", encoding="utf-8")
        check_leaks(json.loads(aside.read_text(encoding="utf-8")), groups, allowed=folds[0]["by_day"])

    path.parent.mkdir(parents=True, exist_ok=True)
    write_aside(path, write)


def table(folds: list[dict[str, list[str]]], slices, *, patients: bool):
    """Return a table of what each fold holds out: scans, slices and how many of these are empty.

    Args:
        patients: whether the groups of ``slices`` are patients, which are counted too.
    """
    from rich.table import Table

    rows = Table("held out", "patients", "scans", "slices", "empty", box=None, pad_edge=False)
    for text, names in [*((f"fold {n}", fold["val"]) for n, fold in enumerate(folds)), ("all", set(slices.name))]:
        part = slices[slices.name.isin(names)]
        counts = (part.group.nunique() if patients else "not known", part.name.nunique(), len(part))
        rows.add_row(text, *map(str, counts), f"{part['empty'].mean():.1%}")
    return rows
