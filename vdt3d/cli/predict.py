"""Answer scans (NIfTI, NRRD, MetaImage, DICOM, folders of slices) with a trained model, one after the other.

A model that labels voxels: OUT/NAME.nii.gz on the scan's own grid, and OUT/volumes.csv. A classifier:
OUT/predictions.csv. A detector: OUT/NAME.findings.json, OUT/findings.csv and OUT/findings.html.

With --uncertainty, also how far each label is to be trusted, from 0 to 1, as OUT/uncertainty/NAME.nii.gz, and, where
there are several checkpoints, draws of dropout or mirrorings, how far they contradict each other, as
OUT/disagreement/NAME.nii.gz.
"""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from vdt3d.cli.config import CHECKPOINT, add_config_arguments, add_dropout_argument, load_config, require_model

EXAMPLE = """vdt3d predict my_config.py work_dirs/mine/best_dice.pth scans -o labels --sheets
vdt3d predict my_config.py best_dice.pth dicom_folder -o labels --dicom-seg --series largest
vdt3d predict my_config.py fold_0.pth "scans/**/*.nii.gz" -o labels --ensemble fold_1.pth fold_2.pth --uncertainty"""
OF_LABELS = {"dicom_seg": "--dicom-seg", "sheets": "--sheets"}
LABELS = "labels.json"  # in a folder of predictions
OF_FINDINGS = {"top": "--top", "every": "--every"}


def add_arguments(parser: ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("checkpoint", help=f"{CHECKPOINT}; or an exported NAME.onnx")
    parser.add_argument(
        "inputs", nargs="+", type=Path, help="scans, folders of scans, of DICOM series, of slices (PNG), or patterns"
    )
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("predictions"), help="folder of what is written (default: predictions)"
    )
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
    parser.add_argument("--dicom-seg", action="store_true", help="also write the labels as DICOM-SEG of their series")
    parser.add_argument("--sheets", action="store_true", help="also draw the labels over slices of the scan")
    parser.add_argument(
        "--series",
        metavar="UID",
        help="which series of a DICOM folder that holds several: a UID, 'largest' (most slices) or 'all'",
    )
    parser.add_argument("--list-series", action="store_true", help="tell the DICOM series there are, and do no more")
    parser.add_argument("--device", help="where to compute, such as cpu or cuda:1 (default: the best there is)")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="predict again what an earlier run wrote to the folder; other files and the scans are never replaced",
    )
    parser.add_argument("--top", type=int, metavar="N", help="of a detector: findings of a scan (default: 20)")
    parser.add_argument(
        "--every",
        type=float,
        metavar="MM",
        help="of a detector: from slice to slice asked about (default: its window's)",
    )


def run(args: Namespace) -> None:
    """Answer what is not done yet.

    Raises:
        SystemExit: 1 if a scan could not be read or answered; the others are.
    """
    from rich.console import Console

    console = Console(highlight=False, markup=False, soft_wrap=True)
    if args.list_series:
        tell_series(args.inputs, console)
        return
    config = load_config(args)
    require_model(config, args.config)
    from vdt3d.apis.prediction_files import FILES
    from vdt3d.apis.predictor import Predictor, answer_of
    from vdt3d.io import check_segment_names, find_scans, with_series
    from vdt3d.utils.outputs import check_writable, refuse_input_folder

    refuse_input_folder(args.out, args.inputs)
    check_writable(args.out)
    answer = answer_of(config)
    files = FILES[answer](args.out, **_options(args, answer))
    checkpoints = [args.checkpoint, *args.ensemble]
    more = dict(uncertainty=args.uncertainty, mc_dropout=args.mc_dropout)
    predictor = Predictor(config, checkpoints, device=args.device, **more)
    scans = find_scans(args.inputs, files.suffix, channels=predictor.channels)
    scans, wrong = with_series(scans, args.series, files.suffix)
    check_files(files, scans)
    failed = [str(error) for error in wrong]
    todo = {name: scan for name, scan in scans.items() if args.overwrite or not files.is_done(name)}
    _, done = files.verb
    if known := len(scans) - len(todo):
        console.print(f"{known} of {len(scans)} scans are in {args.out} already (--overwrite: again)")
    if todo:
        if args.dicom_seg:
            check_segment_names(list(predictor.structures))
        describe(args.out, predictor.classes, checkpoints, args.overwrite, args.mc_dropout)
        unanswered = each(predictor, todo, files, console)
        console.print(f"{files.what.format(len(todo) - len(unanswered))} were written to {args.out}")
        failed += unanswered
    files.write_overview()
    if failed:
        _give_up(f"{len(failed)} of {len(todo) + len(wrong)} scans could not be {done}:", failed)


def tell_series(inputs: Sequence[Path], console) -> None:
    """Tell the series of all DICOM folders: UID, number, modality, slices, and what the scanner's user called them.

    Raises:
        ValueError: there is none.
        SystemExit: 1 if a folder could not be read; the others are.
    """
    from vdt3d.io import ScanError, find_scans, list_series

    told, failed = 0, []
    for path in find_scans(inputs).values():
        try:
            found = list_series(path) if path.is_dir() else {}
        except ScanError as error:
            failed.append(str(error))
            continue
        lines = [f"  {uid or 'without a UID'}: {facts}" for uid, facts in found.items()]
        if lines:
            console.print(f"{path}:", *lines, sep="\n")
        told += len(lines)
    if failed:
        _give_up(f"{len(failed)} folders could not be read:", failed)
    if not told:
        raise ValueError(f"there is no DICOM series in {', '.join(map(str, inputs))}")


def _give_up(head: str, messages: Sequence[str]) -> NoReturn:
    sys.stderr.write(f"{head}\n")
    sys.stderr.writelines(f"  {message}\n" for message in messages)
    raise SystemExit(1)


def check_files(files, scans: Mapping[str, tuple]) -> None:
    """Refuse to replace a scan or a file that no prediction wrote, with or without --overwrite.

    Raises:
        ValueError: an output is a scan, or is there already without a record of its prediction; the message names it.
    """
    from vdt3d.utils.outputs import refuse_foreign, refuse_inputs

    refuse_inputs([path for name in scans for path in files.places(name)], [scan.path for scan in scans.values()])
    foreign = list(filter(None, map(files.foreign, scans)))
    if not (files.out / LABELS).exists():
        foreign += [path for path in files.overviews() if path.exists()]
    refuse_foreign(foreign, "predict")


def describe(
    out: Path, classes: Sequence[str], checkpoints: Sequence[str], overwrite: bool, mc_dropout: int = 0
) -> None:
    """Write ``out``/labels.json: what the numbers mean and where they come from.

    Raises:
        ValueError: the folder holds the predictions of other checkpoints and ``overwrite`` is not set, or a file of
            this name and other origin.
    """
    from vdt3d.utils.files import write_aside

    known = {"labels": dict(enumerate(classes)), "checkpoints": list(checkpoints)}
    text = json.dumps(known | ({"mc_dropout": mc_dropout} if mc_dropout else {}), indent=2) + "\n"
    path = out / LABELS
    if path.exists():
        former = path.read_text(encoding="utf-8", errors="replace")
        if '"checkpoints"' not in former:
            raise ValueError(f"{path} was not written by vdt3d predict; choose another folder with -o")
        if former != text and not overwrite:
            raise ValueError(f"{path} is of other checkpoints; choose another folder, or --overwrite")
    out.mkdir(parents=True, exist_ok=True)
    write_aside(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def each(predictor, scans: Mapping[str, tuple], files, console) -> list[str]:
    """Answer scan after scan; what went wrong comes back as one message for each scan it happened to."""
    from rich.progress import track

    failed = []
    doing, _ = files.verb
    for name, scan in track(scans.items(), doing, console=console, disable=not console.is_terminal):
        try:
            files.write(predictor, name, scan)
        except (ValueError, OSError, MemoryError, RuntimeError) as error:  # RuntimeError: torch's, out of memory too
            message = next(iter(str(error).strip().splitlines()), type(error).__name__)
            failed.append(message if str(scan.path) in message else f"{scan.path}: {message}")
    return failed


def _options(args: Namespace, answer: str) -> dict[str, object]:
    """The options for the files of one kind of answer.

    Raises:
        ValueError: some are given that are for another kind, or are no lengths or numbers of findings.
    """
    given = {name: value for name, value in vars(args).items() if value is not None and value is not False}
    searching, drawing = ({name: given[name] for name in of if name in given} for of in (OF_FINDINGS, OF_LABELS))
    if searching and answer != "findings":
        raise ValueError(f"{' and '.join(OF_FINDINGS.values())} are for detectors; this model answers {answer}")
    if drawing and answer != "labels":
        raise ValueError(f"{' and '.join(OF_LABELS.values())} are for models that label voxels; this one: {answer}")
    if any(value <= 0 for value in searching.values()):
        raise ValueError("--top is 1 or more, --every a positive length in mm")
    if answer == "findings" and (args.uncertainty or args.mc_dropout):
        raise ValueError("--uncertainty and --mc-dropout are not for detectors; findings have their scores")
    return drawing | {"uncertainty": args.uncertainty} if answer == "labels" else searching
