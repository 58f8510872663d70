"""Label scans (NIfTI, NRRD, MetaImage, DICOM, folders of slices) with a trained model, each on its own grid, as
OUT/NAME.nii.gz; or, with a detector, find lesions in them: OUT/NAME.findings.json, OUT/findings.csv and
OUT/findings.html.

With --uncertainty, also how far each label is to be trusted, from 0 to 1, as OUT/uncertainty/NAME.nii.gz, and, where
there are several checkpoints, draws of dropout or mirrorings, how far they contradict each other, as
OUT/disagreement/NAME.nii.gz.
"""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from vdt3d.cli.config import add_config_arguments, add_dropout_argument, load_config

SCANS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")  # what is looked for in a folder
SLICES = "scans"  # the folder of a scan's slices in that of the scan, as the UW-Madison GI Tract challenge has it
FINDINGS = ".findings.json"  # no scan is called so, and labels.json stays free
DEPTHS = ("", "*/", "*/*/", "*/*/*/")  # below case123_day20, case123, train, and the folder above


def add_arguments(parser: ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("checkpoint", help="weights: a path, http(s):// address or torchvision:// name")
    parser.add_argument(
        "inputs", nargs="+", type=Path, help="scans, folders of scans, of a DICOM series, of slices (PNG)"
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of what is written")
    parser.add_argument(
        "--ensemble",
        nargs="+",
        action="extend",
        default=[],
        metavar="CHECKPOINT",
        help="more weights: their mean decides",
    )
    add_dropout_argument(parser)
    parser.add_argument("--uncertainty", action="store_true", help="also write how far the labels are to be trusted")
    parser.add_argument("--series", metavar="UID", help="which series of a DICOM folder that holds several")
    parser.add_argument("--device", help="where to compute, such as cpu or cuda:1 (default: the best there is)")
    parser.add_argument("--overwrite", action="store_true", help="answer again what is in the folder already")
    parser.add_argument("--top", type=int, metavar="N", help="of a detector: findings of a scan (default: 20)")
    parser.add_argument(
        "--every",
        type=float,
        metavar="MM",
        help="of a detector: from slice to slice asked about (default: its window's)",
    )


def run(args: Namespace) -> None:
    """Label, or search, what is not done yet.

    Raises:
        SystemExit: 1 if a scan could not be read or answered; the others are.
    """
    config = load_config(args)
    from rich.console import Console

    from vdt3d.engine.predictor import Predictor, detects

    finds = detects(config)
    how = {name: value for name in ("top", "every") if (value := getattr(args, name)) is not None}
    if how and not finds:
        raise ValueError("--top and --every are for detectors; this model labels voxels")
    if any(value <= 0 for value in how.values()):
        raise ValueError("--top is 1 or more, --every a positive length in mm")
    if finds and (args.uncertainty or args.mc_dropout):
        raise ValueError("--uncertainty and --mc-dropout are for models that label voxels; findings have their scores")
    suffix = FINDINGS if finds else ".nii.gz"
    scans = find_scans(args.inputs, suffix)
    console = Console(highlight=False, soft_wrap=True)
    folders = [args.out, args.out / "uncertainty"] if args.uncertainty else [args.out]
    todo = {
        name: path
        for name, path in scans.items()
        if args.overwrite or not all((folder / f"{name}{suffix}").exists() for folder in folders)
    }
    if done := len(scans) - len(todo):
        again = "answers" if finds else "labels"
        console.print(f"{done} of {len(scans)} scans are in {args.out} already (--overwrite {again} them again)")
    failed: list[str] = []
    if todo:
        checkpoints = [args.checkpoint, *args.ensemble]
        more = dict(uncertainty=args.uncertainty, mc_dropout=args.mc_dropout)
        predictor = Predictor(config, checkpoints, device=args.device, **more)
        describe(args.out, predictor.classes, checkpoints, args.overwrite, args.mc_dropout)
        answer = searcher(predictor, args.out, how) if finds else labeller(predictor, args.out, args.uncertainty)
        failed = each(predictor, todo, answer, args.series, console)
        what = "findings of {} scans" if finds else "{} label maps"
        console.print(f"{what.format(len(todo) - len(failed))} were written to {args.out}")
    if finds:
        write_overview(args.out)
    if failed:
        verb = "searched" if finds else "labelled"
        sys.stderr.write(f"{len(failed)} of {len(todo)} scans could not be {verb}:\n")
        sys.stderr.writelines(f"  {message}\n" for message in failed)
        raise SystemExit(1)


def find_scans(inputs: Iterable[Path], suffix: str = ".nii.gz") -> dict[str, Path]:
    """The scans that ``inputs`` name, by the names of their answers, which end in ``suffix``.

    A folder stands for the scans in it: files or, where there are none, folders of slices as the UW-Madison GI Tract
    challenge has them (``train/case123/case123_day20/scans``, of which the label map is called case123_day20); without
    any, for the DICOM series or the slices it holds.

    Raises:
        ValueError: two scans would be answered under one name.
    """
    found: dict[str, Path] = {}
    for given in inputs:
        for path in _inside(given) or [given]:
            name = _stem(path)
            if name in found:
                raise ValueError(f"{found[name]} and {path} would both become {name}{suffix}; give them separately")
            found[name] = path
    return found


def describe(
    out: Path, classes: Sequence[str], checkpoints: Sequence[str], overwrite: bool, mc_dropout: int = 0
) -> None:
    """Write ``out``/labels.json: what the numbers mean and where they come from.

    Raises:
        ValueError: the folder holds the labels of other checkpoints, which are not to be overwritten.
    """
    from vdt3d.utils.files import write_aside

    known = {"labels": dict(enumerate(classes)), "checkpoints": list(checkpoints)}
    text = json.dumps(known | ({"mc_dropout": mc_dropout} if mc_dropout else {}), indent=2) + "\n"
    path = out / "labels.json"
    if path.exists() and path.read_text(encoding="utf-8") != text and not overwrite:
        raise ValueError(f"{path} is of other checkpoints; choose another folder, or --overwrite")
    out.mkdir(parents=True, exist_ok=True)
    write_aside(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def each(predictor, scans: Mapping[str, Path], answer: Callable[..., None], series: str | None, console) -> list[str]:
    """Read scan after scan and let ``answer(name, volume)`` write what is said of it.

    What went wrong comes back as one message for each scan it happened to.
    """
    import torch
    from rich.progress import track

    failed = []
    verb = "searching" if predictor.detects else "labelling"
    for name, path in track(scans.items(), verb, console=console, disable=not console.is_terminal):
        try:
            answer(name, predictor.read(path, series=series if path.is_dir() else None))
        except (ValueError, OSError, MemoryError, torch.OutOfMemoryError) as error:
            message = str(error) or type(error).__name__
            failed.append(message if str(path) in message else f"{path}: {message}")
    return failed


def labeller(predictor, out: Path, uncertainty: bool) -> Callable[..., None]:
    """What writes a scan's labels and, before them, the maps of how far they are to be trusted."""
    from vdt3d.io import write_nifti

    def label(name: str, volume) -> None:
        if not uncertainty:
            write_nifti(predictor(volume, name=name), out / f"{name}.nii.gz")
            return
        assessed = predictor.assess(volume, name=name)
        for kind in ("disagreement", "uncertainty"):
            if (map_ := getattr(assessed, kind)) is not None:
                (out / kind).mkdir(exist_ok=True)
                write_nifti(map_, out / kind / f"{name}.nii.gz")
        write_nifti(assessed.labels, out / f"{name}.nii.gz")

    return label


def searcher(predictor, out: Path, how: Mapping[str, float]) -> Callable[..., None]:
    """What writes a scan's findings: ``out``/NAME.findings.json and, before it, ``out``/pictures/NAME/1.jpg, ...

    Args:
        how: further arguments of ``Predictor.find``.
    """
    from vdt3d.inference import scan_report
    from vdt3d.utils.files import write_aside, write_json
    from vdt3d.visualization import finding_pictures, jpeg

    def search(name: str, volume) -> None:
        findings = predictor.find(volume, name=name, **how)
        report = scan_report(findings, volume, name=name, classes=predictor.classes)
        pictures = finding_pictures(volume, findings.boxes, findings.slices, axis=findings.axis)
        folder = out / "pictures" / name
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.jpg"):
            old.unlink()
        for finding, picture in zip(report["findings"], pictures, strict=True):
            path = folder / f"{finding['rank']}.jpg"
            write_aside(path, lambda aside, picture=picture: aside.write_bytes(jpeg(picture)))
            finding["picture"] = path.relative_to(out).as_posix()
        write_json(out / f"{name}{FINDINGS}", report)

    return search


def write_overview(out: Path) -> None:
    """Write ``out``/findings.csv and ``out``/findings.html, of all scans whose findings are in the folder."""
    import pandas as pd

    from vdt3d.inference.findings import COLUMNS, NOTE, table_rows
    from vdt3d.utils.files import write_aside
    from vdt3d.visualization import write_findings_page

    paths = sorted(out.glob(f"*{FINDINGS}"))
    if not paths:  # nothing could be searched
        return
    rows = [row for path in paths for row in table_rows(_report(path))]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    write_aside(out / "findings.csv", lambda aside: table.to_csv(aside, index=False))
    write_findings_page(out / "findings.html", map(_report, paths), folder=out, note=NOTE)


def _report(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def _inside(folder: Path) -> list[Path]:
    """The scans in a folder; none in what is no folder, or is one scan."""
    if not folder.is_dir():
        return []
    files = sorted(path for path in folder.iterdir() if _is_scan(path))
    return files or sorted(path for depth in DEPTHS for path in folder.glob(depth + SLICES) if _is_of_slices(path))


def _is_scan(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and path.name.lower().endswith(SCANS)


def _is_of_slices(path: Path) -> bool:
    return path.resolve().name == SLICES and any(path.glob("*.png"))


def _stem(path: Path) -> str:
    """The name of a file without its suffix, of a folder as it is, or of the one around the slices of a scan."""
    if path.is_dir():
        return path.resolve().parent.name if _is_of_slices(path) else path.resolve().name
    suffix = next((suffix for suffix in SCANS if path.name.lower().endswith(suffix)), path.suffix)
    return path.name[: len(path.name) - len(suffix)]
