"""Label scans (NIfTI, NRRD, MetaImage, DICOM, folders of slices) with a trained model, each on its own grid, as
OUT/NAME.nii.gz.
"""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vdt3d.cli.config import add_config_arguments, load_config

SCANS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")  # what is looked for in a folder
SLICES = "scans"  # the folder of a scan's slices in that of the scan, as the UW-Madison GI Tract challenge has it
DEPTHS = ("", "*/", "*/*/", "*/*/*/")  # below case123_day20, case123, train, and the folder above


def add_arguments(parser: ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("checkpoint", help="weights: a path, http(s):// address or torchvision:// name")
    parser.add_argument(
        "inputs", nargs="+", type=Path, help="scans, folders of scans, of a DICOM series, of slices (PNG)"
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the label maps")
    parser.add_argument(
        "--ensemble",
        nargs="+",
        action="extend",
        default=[],
        metavar="CHECKPOINT",
        help="more weights: their mean decides",
    )
    parser.add_argument("--series", metavar="UID", help="which series of a DICOM folder that holds several")
    parser.add_argument("--device", help="where to compute, such as cpu or cuda:1 (default: the best there is)")
    parser.add_argument("--overwrite", action="store_true", help="label again what is in the folder already")


def run(args: Namespace) -> None:
    """Label what is not labelled yet.

    Raises:
        SystemExit: 1 if a scan could not be labelled; the others are.
    """
    config = load_config(args)
    scans = find_scans(args.inputs)
    from rich.console import Console

    from vdt3d.engine.predictor import Predictor

    console = Console(highlight=False, soft_wrap=True)
    paths = {name: args.out / f"{name}.nii.gz" for name in scans}
    todo = {name: path for name, path in scans.items() if args.overwrite or not paths[name].exists()}
    if done := len(scans) - len(todo):
        console.print(f"{done} of {len(scans)} scans are in {args.out} already (--overwrite labels them again)")
    if not todo:
        return
    checkpoints = [args.checkpoint, *args.ensemble]
    predictor = Predictor(config, checkpoints, device=args.device)
    describe(args.out, predictor.classes, checkpoints, args.overwrite)
    failed = label(predictor, todo, paths, args.series, console)
    console.print(f"{len(todo) - len(failed)} label maps were written to {args.out}")
    if failed:
        sys.stderr.write(f"{len(failed)} of {len(todo)} scans could not be labelled:\n")
        sys.stderr.writelines(f"  {message}\n" for message in failed)
        raise SystemExit(1)


def find_scans(inputs: Iterable[Path]) -> dict[str, Path]:
    """The scans that ``inputs`` name, by the names of their label maps.

    A folder stands for the scans in it: files or, where there are none, folders of slices as the UW-Madison GI Tract
    challenge has them (``train/case123/case123_day20/scans``, of which the label map is called case123_day20); without
    any, for the DICOM series or the slices it holds.

    Raises:
        ValueError: two scans would be labelled under one name.
    """
    found: dict[str, Path] = {}
    for given in inputs:
        for path in _inside(given) or [given]:
            name = _stem(path)
            if name in found:
                raise ValueError(f"{found[name]} and {path} would both become {name}.nii.gz; label them separately")
            found[name] = path
    return found


def describe(out: Path, classes: Sequence[str], checkpoints: Sequence[str], overwrite: bool) -> None:
    """Write ``out``/labels.json: what the numbers mean and where they come from.

    Raises:
        ValueError: the folder holds the labels of other checkpoints, which are not to be overwritten.
    """
    from vdt3d.utils.files import write_aside

    text = json.dumps({"labels": dict(enumerate(classes)), "checkpoints": list(checkpoints)}, indent=2) + "\n"
    path = out / "labels.json"
    if path.exists() and path.read_text(encoding="utf-8") != text and not overwrite:
        raise ValueError(f"{path} is of other checkpoints; choose another folder, or --overwrite")
    out.mkdir(parents=True, exist_ok=True)
    write_aside(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def label(predictor, scans: Mapping[str, Path], paths: Mapping[str, Path], series: str | None, console) -> list[str]:
    """Label scan after scan; what went wrong comes back as one message for each scan it happened to."""
    import torch
    from rich.progress import track

    from vdt3d.io import write_nifti

    failed = []
    for name, path in track(scans.items(), "labelling", console=console, disable=not console.is_terminal):
        try:
            volume = predictor.read(path, series=series if path.is_dir() else None)
            write_nifti(predictor(volume, name=name), paths[name])
        except (ValueError, OSError, MemoryError, torch.OutOfMemoryError) as error:
            message = str(error) or type(error).__name__
            failed.append(message if str(path) in message else f"{path}: {message}")
    return failed


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
