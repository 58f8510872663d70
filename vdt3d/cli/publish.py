"""Make of a checkpoint what can be passed on: its weights alone, named by their hash, and their entry for the zoo."""

import json
import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping
from pathlib import Path

from vdt3d.cli.config import load_model
from vdt3d.cli.outputs import add_overwrite_argument

EXAMPLE = "vdt3d publish work_dirs/mine/best_auc.pth published --name my-nodules --config my_config.py"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("src", help="checkpoint of a run; its averaged weights, where the run averaged them")
    parser.add_argument("out_dir", type=Path, help="folder to write to")
    parser.add_argument("--name", required=True, help="what the zoo is to call it")
    parser.add_argument("--config", type=Path, required=True, help="the config that trained it")
    parser.add_argument("--backbone-only", action="store_true", help="leave out necks and heads")
    parser.add_argument(
        "--metric",
        nargs="+",
        type=_metric,
        default=[],
        metavar="NAME=VALUE",
        help="its scores (default: the run's validation at this checkpoint)",
    )
    add_overwrite_argument(parser)
    parser.add_argument("--licence", default="unknown", help="under which others may use it (default: unknown)")


def run(args: Namespace) -> None:
    if not re.fullmatch(r"[\w.-]+", args.name):
        raise ValueError(f"--name {args.name}: letters, digits, dots and dashes make a name that is also a file's")
    config, model = load_model(args.config)
    from rich.console import Console

    from vdt3d import __version__
    from vdt3d.models.weights.download import sha256_of
    from vdt3d.models.weights.files import local_copy, read_checkpoint, write_weights
    from vdt3d.models.weights.zoo import Entry, described
    from vdt3d.utils.files import write_aside
    from vdt3d.utils.outputs import check_outputs, check_writable

    check_writable(args.out_dir)
    source = local_copy(args.src)
    checkpoint = read_checkpoint(source)
    weights = weights_of(checkpoint, model, args)
    meta = checkpoint["meta"] if isinstance(checkpoint.get("meta"), Mapping) else {}
    about = {"name": args.name, "config": args.config.name, "vdt3d": __version__}
    if not args.backbone_only:
        about["dataset_meta"] = meta.get("dataset_meta", {})

    args.out_dir.mkdir(parents=True, exist_ok=True)
    unnamed = args.out_dir / f"{args.name}.safetensors"
    if unnamed.exists():
        raise ValueError(f"{unnamed} exists already, where the weights are first written; move it, or change --name")
    write_weights(weights, unnamed, meta=about)
    try:
        digest = sha256_of(unnamed)
        path = args.out_dir / f"{args.name}-{digest[:8]}.safetensors"
        data = args.config.stem.rpartition("_")[2]
        entry = Entry(
            name=args.name,
            task="Image Segmentation" if "decode_head" in config.model else "Image Classification",
            data=data,
            metrics=dict(args.metric) or scores(source.with_name("scores.jsonl"), meta, config),
            scored=data,
            licence=args.licence,
            file=path.name,
            sha256=digest,
            size=unnamed.stat().st_size,
            config=args.config.name if args.config.is_absolute() else args.config.as_posix(),
        )
        check_outputs([path, path.with_suffix(".yml")], inputs=[source], overwrite=args.overwrite)
        write_aside(path.with_suffix(".yml"), lambda aside: aside.write_text(described(entry), encoding="utf-8"))
        unnamed.replace(path)
    finally:
        unnamed.unlink(missing_ok=True)  # where its entry could not be written
    console = Console(highlight=False, markup=False)
    averaged = " (averaged)" if "ema_state_dict" in checkpoint else ""
    console.print(f"{len(weights)} tensors{averaged} are in {path}; the entry for a metafile:\n", soft_wrap=True)
    console.print(described(entry), soft_wrap=True)


def weights_of(checkpoint: Mapping, model, args: Namespace) -> dict:
    """The tensors to pass on, under the names of the config's model or, alone, of its backbone.

    Where a run averaged its weights, ``state_dict`` holds the average and ``ema_state_dict`` what it is the average of.

    Raises:
        ValueError: they are not those of the config's model.
    """
    from vdt3d.models.weights.files import state_dict_of
    from vdt3d.models.weights.load import load_pretrained

    if args.backbone_only and not hasattr(model, "backbone"):
        raise ValueError(f"{args.config}: its model has no backbone to publish alone")
    target = model.backbone if args.backbone_only else model
    state = state_dict_of(checkpoint, args.src)
    report = load_pretrained(target, state, min_matched=1.0, heads=not args.backbone_only, name=args.src)
    if report.left and not args.backbone_only:
        raise ValueError(f"{report}\n  it is of another model than that of {args.config}")
    filled = target.state_dict()
    return {key: filled[key] for key in report.used}


def scores(file: Path, meta: Mapping, config) -> dict[str, float]:
    """The validation of this very checkpoint, in the scores that the run kept beside it; empty if there was none.

    Tests are left out: their lines do not tell which checkpoint they are of.
    """
    lines = map(json.loads, file.read_text(encoding="utf-8").splitlines()) if file.is_file() else ()
    same = [line for line in lines if line["split"] == "val" and line["iter"] == meta.get("iter")]
    best = config.get("default_hooks", {}).get("checkpoint", {}).get("save_best")
    if not same:
        return {}
    kept = {
        name: value
        for name, value in same[-1].items()
        if isinstance(value, float) and not name.endswith(("_low", "_high"))
    }
    return {best: kept[best]} if best in kept else kept


def _metric(text: str) -> tuple[str, float]:
    name, _, value = text.rpartition("=")
    try:
        number = float(value)
    except ValueError:
        name = ""
    if not name:
        raise ArgumentTypeError(f"'{text}' is not of the form dice=0.87")
    return name, number
