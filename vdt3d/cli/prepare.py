"""Convert a segmentation data set as it was released, check every case, cache those to learn from, and measure them.

docs/segmentation_data.md says where each is had, and what comes out.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from vdt3d.cli.config import quiet_imports


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "name",
        help="btcv (or bcv), lits, acdc, lidc, gi_tract, msd, nnunet, or folder: any in the layouts of the last two",
    )
    parser.add_argument("src", type=Path, help="archive, folder of archives, or folder")
    parser.add_argument("dst", type=Path, help="folder to make: the data_root of the configs")
    parser.add_argument(
        "--spacing", nargs="+", metavar="MM", help="sample every case with z y x mm, or with the data set's 'median'"
    )
    parser.add_argument("--workers", type=int, help="processes (default: half of the processor's threads, at most 8)")
    parser.add_argument("--no-cache", action="store_true", help="convert and check only")
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


def _spacing(words: list[str] | None) -> tuple[float, ...] | str | None:
    """What ``--spacing`` says, for ``prepare`` to judge."""
    if words is None or words == ["median"]:
        return words and "median"
    try:
        return tuple(map(float, words))
    except ValueError:
        raise ValueError(f"--spacing wants three numbers (z y x) or 'median', got {' '.join(words)}") from None


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
