"""Draw what the model of a config is really fed, after pipeline and data preprocessor, as PNG sheets."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from vdt3d.cli.config import add_config_arguments, load_config, require, require_model, run_name
from vdt3d.cli.outputs import add_overwrite_argument

EXAMPLE = "vdt3d browse configs/debug/classify.py --split val --out sheets"
ROWS = 8  # samples on one sheet


def add_arguments(parser: ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("--split", choices=("train", "val", "test"), default="train")
    parser.add_argument("--out", type=Path, help="folder of the sheets (default: work_dirs/CONFIG/inputs)")
    add_overwrite_argument(parser)
    parser.add_argument("--number", type=int, default=16, help="how many samples, in the order of the first epoch")


def run(args: Namespace) -> None:
    if args.number < 1:
        raise ValueError(f"--number {args.number}: draw one sample or more")
    from vdt3d.utils.outputs import check_outputs

    if args.out is not None:
        sheets = -(-args.number // ROWS)
        check_outputs([sheet_path(args.out, args.split, index) for index in range(sheets)], overwrite=args.overwrite)
    config = load_config(args)
    require_model(config, args.config)
    require(config, args.config, f"{args.split}_dataloader")
    from rich.console import Console

    out = args.out or Path("work_dirs") / run_name(args) / "inputs"
    sheets = draw_inputs(config, args.split, args.number, out)
    Console(highlight=False).print(f"{len(sheets)} sheets, from {sheets[0]} on", soft_wrap=True)


def draw_inputs(config, split: str, number: int, out: Path) -> list[Path]:
    """Draw the first ``number`` samples of a split, ``ROWS`` to a sheet, as ``out``/SPLIT_NN.png."""
    from mmengine.registry import init_default_scope

    from vdt3d.engine.data import build_dataloader
    from vdt3d.registry import MODELS
    from vdt3d.visualization import PALETTE, input_sheet, save, window_page

    init_default_scope("vdt3d")
    # A sample depends on (seed, epoch, index) alone, so these are the very ones that training sees.
    loader = build_dataloader(
        **config[f"{split}_dataloader"] | {"batch_size": ROWS, "num_workers": 0}, seed=config.randomness.seed
    )
    metainfo = loader.dataset.metainfo
    classes = metainfo.get("classes")
    model = {"data_preprocessor": config.get("data_preprocessor")} | config.model
    preprocessor = MODELS.build(model).data_preprocessor
    sheets = []
    for index, batch in zip(range(-(-number // ROWS)), loader, strict=False):
        batch = preprocessor(batch, training=split == "train")
        left = number - index * ROWS
        inputs, samples = batch["inputs"][:left], batch["data_samples"][:left]
        if inputs.ndim == 4:  # a network of pictures
            inputs = inputs.unsqueeze(1)
        window = getattr(loader.dataset.dataset, "window", None)
        if any("gt_boxes" in sample for sample in samples):
            labels = [_boxes_filled(sample, tuple(inputs.shape[2:]), window.place) for sample in samples]
            named = classes
        else:
            labels = [sample.gt_labels.cpu() if "gt_labels" in sample else None for sample in samples]
            named = classes[1:] if any(painted is not None for painted in labels) else ()
        options = {"labels": labels}
        if window is not None:
            draw = partial(window_page, answered=window.answered)
            regions = metainfo.get("regions") or {name: label for label, name in enumerate(named, start=1)}
            named, options["regions"] = tuple(regions), regions
        else:
            draw, options["classes"] = input_sheet, named
        # Ours are told apart by everybody but are few; the data set has one for each class.
        palette = PALETTE if len(named) <= len(PALETTE) else metainfo["palette"][1:]
        sheets.append(sheet_path(out, split, index))
        page = draw(inputs.cpu(), [_caption(sample, classes) for sample in samples], palette=palette, **options)
        save(page, sheets[-1])
    return sheets


def sheet_path(out: Path, split: str, index: int) -> Path:
    """Return the path of sheet ``index``, counted from 0."""
    return out / f"{split}_{index + 1:02d}.png"


def _boxes_filled(sample, shape: tuple[int, int, int], place: int):
    """The boxes of a sample as labels of a window (n, H, W), 1 for the first class, in the slice they are of."""
    import numpy as np

    layer = np.zeros(shape, np.uint8)
    boxes = sample.gt_boxes.cpu().round().int().tolist()
    for (left, top, right, bottom), label in zip(boxes, sample.gt_labels.tolist(), strict=True):
        layer[place, top:bottom, left:right] = label + 1
    return layer


def _caption(sample, classes: Sequence[str] | None) -> str:
    """The class and the name of a case, or of a picture's file."""
    label = int(sample.gt_label) if "gt_label" in sample else None
    lines = [] if label is None else [classes[label] if classes else f"class {label}"]
    return "\n".join([*lines, sample.get("sample_name") or Path(sample.get("img_path", "")).name])
