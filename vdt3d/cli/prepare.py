"""Convert a data set as it was released, check every case, cache those to learn from, and measure them.

docs/segmentation_data.md and docs/detection_data.md say where each is had, and what comes out.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from vdt3d.cli.config import quiet_imports

EXAMPLE = """vdt3d prepare folder my_task my_task --spacing median
vdt3d prepare acdc downloads/ACDC.zip data/acdc"""
# Which options a preparation for detection knows, and all that only some preparations know, with their defaults.
DETECTION = {"deeplesion": {"images", "workers", "no_cache"}, "lesion_scans": {"workers", "nan"}}
OPTIONS = {
    "spacing": None,
    "workers": None,
    "no_cache": False,
    "images": None,
    "label_geometry": "error",
    "nan": "error",
    "shear": "error",
}
SHOWN = 20  # problems; the others are in the file


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "name",
        help="btcv (or bcv), lits, acdc, lidc, gi_tract, msd, nnunet, or folder: any in the layouts of the last two; "
        "for detection deeplesion, or lesion_scans: volumes with 3D boxes",
    )
    parser.add_argument(
        "src",
        type=Path,
        help="archive, folder of archives, or folder; DL_info.csv of deeplesion, a json of lesion_scans",
    )
    parser.add_argument("dst", type=Path, help="folder to make: the data_root of the configs")
    parser.add_argument(
        "--spacing",
        nargs="+",
        metavar="MM",
        help="resample every case to z y x mm, None for an axis that keeps its spacing, or to the data set's 'median'",
    )
    parser.add_argument("--workers", type=int, help="processes (default: half of the processor's threads, at most 8)")
    parser.add_argument("--no-cache", action="store_true", help="convert and check only")
    parser.add_argument(
        "--images", type=Path, help="of deeplesion: the folder of pictures (default: Images_png beside the table)"
    )
    parser.add_argument(
        "--label-geometry",
        choices=("error", "image"),
        default="error",
        help="a label map of its image's shape that lies elsewhere is an error, or is moved to the image",
    )
    parser.add_argument("--nan", choices=("error", "zero"), default="error", help="what NaN in an image is")
    parser.add_argument(
        "--shear", choices=("error", "resample"), default="error", help="what axes that are not at right angles are"
    )


def run(args: Namespace) -> None:
    quiet_imports()
    if args.name in DETECTION:
        _run_detection(args)
        return
    _refuse_others(args, {"spacing", "workers", "no_cache", "label_geometry", "nan", "shear"})
    from rich.console import Console

    from medseg.datasets.prepare import prepare

    declared = {key: getattr(args, key) for key in ("nan", "shear") if getattr(args, key) != "error"}
    report = prepare(
        args.name,
        args.src,
        args.dst,
        spacing=_spacing(args.spacing),
        workers=args.workers,
        cache=not args.no_cache,
        label_geometry=args.label_geometry,
        reader=declared,
        initializer=quiet_imports,
    )
    console = Console(highlight=False)
    if report.fingerprint:
        console.print(_table(report.fingerprint))
    if report.notice:
        console.print(report.notice, soft_wrap=True, markup=False)
    bad = {problem["case"]: problem for problem in report.problems}
    counts = f"{len(report.outcomes) - len(bad)} of {len(report.outcomes)} cases are good"
    done = sum(outcome.record is not None and not outcome.new for outcome in report.outcomes)
    console.print(f"{counts}, {done} of them since an earlier run" if done else counts, soft_wrap=True)
    for problem in bad.values():
        line = f"{problem['case']}: {problem['file']}: {problem['finding']}; {problem['remedy']}"
        console.print(line, soft_wrap=True, markup=False)
    if bad:
        raise SystemExit(1)


def _run_detection(args: Namespace) -> None:
    _refuse_others(args, DETECTION[args.name])
    from rich.console import Console

    from vdt3d.datasets.prepare import prepare_deeplesion, prepare_lesion_scans

    shared = {"workers": args.workers, "initializer": quiet_imports}
    if args.name == "deeplesion":
        report = prepare_deeplesion(args.src, args.dst, images=args.images, cache=not args.no_cache, **shared)
    else:
        reader = {} if args.nan == "error" else {"nan": args.nan}
        report = prepare_lesion_scans(args.src, args.dst, reader=reader, **shared)
    console = Console(highlight=False)
    for part, (slices, boxes) in report.counts.items():
        console.print(f"{part}: {slices} key slices with {boxes} boxes", soft_wrap=True)
    done = report.series - report.new
    earlier = f", {done} of them since an earlier run" if done else ""
    if args.name == "deeplesion" and not (report.series or report.problems or args.no_cache):
        console.print("no pictures were found, so only annotations were written; name their folder with --images")
    console.print(f"{report.series} series are in the cache{earlier}", soft_wrap=True)
    for problem in report.problems[:SHOWN]:
        line = f"{problem.case}: {problem.file}: {problem.finding}; {problem.remedy}"
        console.print(line, soft_wrap=True, markup=False)
    if report.problems:
        console.print(f"{len(report.problems)} problems are listed in {args.dst / 'problems.json'}", soft_wrap=True)
        raise SystemExit(1)


def _refuse_others(args: Namespace, known: set[str]) -> None:
    """Raise ValueError where an option is given that this preparation does not know."""
    foreign = [name for name, default in OPTIONS.items() if name not in known and getattr(args, name) != default]
    if foreign:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in foreign)
        raise ValueError(f"prepare {args.name} knows no {flags}; leave it out")


def _spacing(words: list[str] | None) -> tuple[float | None, ...] | str | None:
    """Parse ``--spacing``; ``prepare`` checks the numbers.

    Raises:
        ValueError: a word is neither a number nor None.
    """
    if words is None or words == ["median"]:
        return words and "median"
    try:
        return tuple(None if word.lower() == "none" else float(word) for word in words)
    except ValueError:
        raise ValueError(
            f"--spacing {' '.join(words)}: expected three numbers in mm (z y x), None to keep an axis, or 'median'"
        ) from None


def _table(found: dict):
    from rich.table import Table

    spacing, shape = (" x ".join(f"{n:.3g}" for n in found[f"median_{what}"]) for what in ("spacing", "shape"))
    table = Table(title=f"Cases to learn from: {found['cases']}, median {shape} voxels of {spacing} mm")
    for column in ("label", "class", "cases", "median volume (ml)", "share of voxels"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for text, known in found["classes"].items():
        volume = known["median_volume_mm3"]
        ml = f"{volume / 1000:.4g}" if volume and known["label"] else ""
        table.add_row(str(known["label"]), text, str(known["cases"]), ml, f"{known['frequency']:.3%}")
    return table
