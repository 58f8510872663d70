"""Write a trained network as a file that runs without this package: ONNX, or torch.export (.pt2). It is compared with
PyTorch before it is kept; ``vdt3d predict`` takes an ONNX file in place of a checkpoint.

The file holds the network alone, from patches to scores; what preprocesses scans and joins windows stays here. Sizes
are left free where the network allows it.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from vdt3d.cli.config import CHECKPOINT, add_config_arguments, load_config, require_model
from vdt3d.cli.outputs import add_overwrite_argument

EXAMPLE = """vdt3d export configs/debug/segment.py work_dirs/segment/best_dice.pth -o segment.onnx
vdt3d export configs/debug/classify.py work_dirs/classify/best_auc.pth -o classify.pt2 --shape 1 48 48 48"""


def add_arguments(parser: ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("checkpoint", help=CHECKPOINT)
    parser.add_argument("-o", "--out", type=Path, required=True, help="what is written: NAME.onnx, or NAME.pt2")
    parser.add_argument(
        "--shape",
        nargs=4,
        type=int,
        metavar=("C", "D", "H", "W"),
        help="size of a patch (default: as the train pipeline makes it)",
    )
    parser.add_argument("--scan", type=Path, help="compare also while this scan is predicted, which takes its time")
    add_overwrite_argument(parser)


def run(args: Namespace) -> None:
    from vdt3d.utils.outputs import check_outputs

    inputs = [args.config, args.checkpoint, *filter(None, [args.scan])]
    check_outputs([args.out], inputs=inputs, overwrite=args.overwrite)
    config = load_config(args)
    require_model(config, args.config)
    from rich.console import Console

    from vdt3d.apis.export import export, refuse_detectors
    from vdt3d.cli.flops import sample_shape
    from vdt3d.engine.onnx_network import described

    refuse_detectors(config)
    shape = tuple(args.shape or sample_shape(config, args.config))
    written = export(config, args.checkpoint, args.out, shape=shape, scan=args.scan)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"{written.path} ({written.path.stat().st_size / 1e6:.1f} MB) takes {described(written.sizes)}")
    for where, found in (("random patches", written.random), (args.scan, written.scan)):
        if found is not None:
            console.print(
                f"{where}: scores at most {found.largest:.2g} from PyTorch's, {found.share:.1e} of the greatest"
            )
