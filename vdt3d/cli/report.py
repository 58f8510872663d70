"""Put what runs left in their work directories on one page: scores, curves, plots, and cases to scroll through.

A test writes report.html by itself; here it is written again, for several runs side by side, or with what an inspection
of the data found. The page needs no network. See docs/report.md.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from vdt3d.cli.config import quiet_imports
from vdt3d.cli.outputs import add_overwrite_argument

EXAMPLE = "vdt3d report work_dirs/vdt work_dirs/scratch -o comparison.html"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="work directories of runs")
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="FILE",
        help="the page (default: report.html in the work directory of one run)",
    )
    parser.add_argument(
        "--inspection",
        type=Path,
        metavar="FILE",
        help="inspection.json of the data (default: that in the work directory, or in inspection below it)",
    )
    add_overwrite_argument(parser)


def run(args: Namespace) -> None:
    runs = names_of(args.runs)
    if args.out is None and len(runs) > 1:
        raise ValueError("say where the page of several runs goes: -o FILE.html")
    from vdt3d.utils.outputs import check_outputs

    if args.out is not None:  # the page in the work directory is the run's own
        check_outputs([args.out], inputs=filter(None, [args.inspection]), overwrite=args.overwrite)
    quiet_imports()
    from rich.console import Console

    from vdt3d.engine.hooks.report import PAGE
    from vdt3d.engine.report import read_run
    from vdt3d.visualization.report import write_report

    out = args.out or args.runs[0] / PAGE
    read = [read_run(folder, name, args.inspection) for name, folder in runs.items()]
    write_report(out, read, tables=_differences(read))
    Console(highlight=False, markup=False).print(f"the page is {out}", soft_wrap=True)


def names_of(folders: list[Path]) -> dict[str, Path]:
    """The runs by the last part of their path; by all of it, where that is the same for several.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: one is given twice.
    """
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is no folder; give the work directory of a run")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError("a run is given twice")
    short = [folder.resolve().name for folder in folders]
    return {str(folder) if short.count(name) > 1 else name: folder for name, folder in zip(short, folders, strict=True)}


def _differences(read: list) -> list:
    """What tells those of the runs apart that have a record, as a table."""
    from vdt3d.cli.runs import differences
    from vdt3d.visualization.report import Table

    recorded = {one.name: (one.folder, one.records) for one in read if one.records}
    if len(recorded) < 2:
        return []
    head, rows = differences(recorded)
    return [Table("What the runs differ in", head, rows)] if rows else []
