"""Show what in a scan an answer of a trained model rests on: OUT/NAME.METHOD.nii.gz, a map on the scan's own grid,
OUT/NAME.METHOD.png, the scan with what speaks for the answer painted on, and OUT/NAME.METHOD.json. Or, with
--method tcav, tell whether concepts, given as folders of scans that show them, move a classifier's answer:
OUT/tcav.json.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path

from vdt3d.cli.config import CHECKPOINT, add_config_arguments, load_config

EXAMPLE = "vdt3d explain my_config.py work_dirs/mine/best_auc.pth scans/a.nii.gz --target 1"
METHODS = ("gradcam", "saliency", "integrated-gradients", "occlusion", "attention", "tcav")


def add_arguments(parser: ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("checkpoint", help=CHECKPOINT)
    parser.add_argument("inputs", nargs="+", type=Path, help="scans, folders of scans, of a DICOM series, of slices")
    parser.add_argument("-o", "--out", type=Path, default=Path("explanations"), help="folder of what is written")
    parser.add_argument("--method", choices=METHODS, default="gradcam", help="how it is found out (default: gradcam)")
    parser.add_argument(
        "--target",
        type=int,
        metavar="N",
        help="class, label, region that overlaps others, or rank of a finding",
    )
    parser.add_argument(
        "--region",
        nargs="+",
        type=int,
        metavar="VOXEL",
        help="of voxels' labels, where: d h w, or a box, d h w d h w (default: the largest part labelled so)",
    )
    parser.add_argument("--layer", help="that gradcam and tcav look at (default: the backbone's last with maps)")
    parser.add_argument("--window", nargs=3, type=int, metavar=("D", "H", "W"), help="voxels painted over by occlusion")
    parser.add_argument("--stride", nargs=3, type=int, metavar=("D", "H", "W"), help="of that window (default: itself)")
    parser.add_argument("--check", action="store_true", help="also test the map: random weights, removal of voxels")
    parser.add_argument(
        "--concept", action="append", default=[], metavar="NAME=FOLDER", help="of tcav: scans that show a concept"
    )
    parser.add_argument("--random", type=Path, metavar="FOLDER", help="of tcav: scans chosen by chance")
    parser.add_argument("--series", metavar="UID", help="which series of a DICOM folder that holds several")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace what an earlier run wrote to the folder; other files and the scans are never replaced",
    )
    parser.add_argument("--device", help="where to compute, such as cpu or cuda:1 (default: the best there is)")


def run(args: Namespace) -> None:
    """Explain one scan after the other, or test concepts on all.

    Raises:
        SystemExit: 1 if a scan could not be explained; the others are.
    """
    _check(args)
    config = load_config(args)
    from rich.console import Console

    from vdt3d.apis.explanations import Explainer
    from vdt3d.utils.outputs import check_outputs, check_writable, refuse_input_folder

    refuse_input_folder(args.out, args.inputs)
    check_writable(args.out)
    if args.method == "tcav":
        check_outputs([args.out / "tcav.json"], overwrite=args.overwrite)

    console = Console(highlight=False, soft_wrap=True)
    explainer = Explainer(config, args.checkpoint, device=args.device)
    (test_concepts if args.method == "tcav" else explain)(args, explainer, console)


def explain(args: Namespace, explainer, console) -> None:
    """Write map, picture and report of every scan.

    Raises:
        SystemExit: 1 if one could not be explained.
    """
    from rich.progress import track

    from vdt3d.io import find_scans

    options = {name: value for name in ("window", "stride") if (value := getattr(args, name)) is not None}
    failed = []
    scans = find_scans(args.inputs, f".{args.method}.nii.gz", channels=explainer.channels)
    check_files(args.out, args.method, scans, overwrite=args.overwrite)
    for name, path in track(scans.items(), "explaining", console=console, disable=not console.is_terminal):
        try:
            volume = explainer.read(path, series=args.series if path.is_dir() else None)
            found = explainer.explain(
                volume,
                args.method,
                **{key: getattr(args, key) for key in ("target", "region", "layer")},
                name=name,
                **options,
            )
            write(args.out, name, volume, found, explainer.check(found) if args.check else {})
            console.print(f"{name}: {found.question.about}, {found.score:.3f}")
        except (ValueError, OSError, MemoryError, RuntimeError) as error:  # RuntimeError: torch's, out of memory too
            message = next(iter(str(error).strip().splitlines()), type(error).__name__)
            failed.append(message if str(path) in message else f"{path}: {message}")
    if failed:
        sys.stderr.write(f"{len(failed)} of {len(scans)} scans could not be explained:\n")
        sys.stderr.writelines(f"  {message}\n" for message in failed)
        raise SystemExit(1)


def files_of(out: Path, name: str, method: str) -> list[Path]:
    """Return the paths of map, picture and record of one scan."""
    return [out / f"{name}.{method}{suffix}" for suffix in (".nii.gz", ".png", ".json")]


def check_files(out: Path, method: str, scans: Mapping[str, Path], *, overwrite: bool) -> None:
    """Refuse to replace a scan, a file of other origin and, without ``overwrite``, an earlier explanation.

    Raises:
        ValueError: the message names the file.
    """
    from vdt3d.utils.outputs import foreign_file, record_state, refuse_foreign, refuse_inputs

    files = {name: files_of(out, name, method) for name in scans}
    refuse_inputs([path for paths in files.values() for path in paths], scans.values())
    refuse_foreign([path for name, paths in files.items() if (path := foreign_file(paths[-1], name, paths))], "explain")
    done = [paths[0] for name, paths in files.items() if record_state(paths[-1], name) == "done"]
    if done and not overwrite:
        raise ValueError(f"{done[0]} exists already; choose another folder, or replace it with --overwrite")


def write(out: Path, name: str, volume, found, checks: dict[str, float]) -> None:
    """Write map, picture and record of one scan."""
    import numpy as np

    from vdt3d.io import write_nifti
    from vdt3d.utils.notice import NOTICE
    from vdt3d.utils.outputs import write_recorded
    from vdt3d.visualization import save, volume_sheet

    heat, picture, record = files_of(out, name, found.method)
    hot = found.heat.array[found.heat.array > 0]
    sheet = volume_sheet(
        volume.replace(array=np.asarray(volume.array[:1])),
        heat=found.heat,
        hottest=np.percentile(hot, 99.5) if len(hot) else 1.0,
        measure=found.measure,
        title=f"{name}: {found.question.about}, by {found.method}",
        note=NOTICE,
        planes=("axial", "coronal", "sagittal"),
    )
    report = {
        "scan": name,
        "note": NOTICE,
        "method": found.method,
        "layer": found.layer,
        "options": found.options,
        "target": found.question.target,
        "about": found.question.about,
        "measure": found.measure,
        "score": found.score,
        "hottest_voxel_dhw": [int(place) for place in np.unravel_index(found.heat.array[0].argmax(), volume.shape)],
        "resolution_dhw": list(found.own.shape),
        "checks": checks,
    }
    writers = (lambda: write_nifti(found.heat, heat), lambda: save(sheet, picture))
    write_recorded(record, report, writers, (heat, picture))


def test_concepts(args: Namespace, explainer, console) -> None:
    """Write what was found about the concepts, and show it."""
    from rich.table import Table

    from vdt3d.utils.files import write_json

    folders = dict(text.split("=", 1) for text in args.concept)
    concepts = {name: _read(explainer, [Path(folder)]) for name, folder in folders.items()}
    against, volumes = _read(explainer, [args.random]), _read(explainer, args.inputs)
    found = explainer.test_concepts(volumes, concepts, against, target=args.target, layer=args.layer)
    reports = {name: {"examples": len(concepts[name]), **each._asdict()} for name, each in found.items()}
    report = {"target": args.target, "layer": args.layer, "scans": len(volumes), "counterexamples": len(against)}
    write_json(args.out / "tcav.json", {**report, "concepts": reports})
    table = Table("concept", "TCAV score", "sensitivity", "random concepts", "told apart", "p")
    for name, each in found.items():
        random = f"{each.random_mean:+.3f} +- {each.random_std:.3f}"
        numbers = (f"{each.score:.2f}", f"{each.sensitivity:+.3f}", random, f"{each.accuracy:.2f}", f"{each.p:.4f}")
        table.add_row(name, *numbers)
    console.print(table)


def _read(explainer, inputs: Iterable[Path]) -> list:
    from vdt3d.io import find_scans

    return [explainer.read(path) for path in find_scans(inputs, channels=explainer.channels).values()]


def _check(args: Namespace) -> None:
    """Refuse what does not go together before anything is loaded."""
    tcav = args.method == "tcav"
    if tcav and not (args.concept and args.random and all("=" in text.strip("=") for text in args.concept)):
        raise ValueError("tcav wants concepts, --concept NAME=FOLDER, and scans chosen by chance, --random FOLDER")
    if not tcav and (args.concept or args.random):
        raise ValueError("--concept and --random are for --method tcav")
    if (args.window or args.stride) and args.method != "occlusion":
        raise ValueError("--window and --stride are for --method occlusion")
    names = [text.partition("=")[0] for text in args.concept]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"--concept names '{twice[0]}' twice; give each concept its own name")
    if tcav and (args.check or args.region):
        raise ValueError("--check and --region are for maps, not for tcav")
