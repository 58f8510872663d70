"""The one door for commands: ``vdt3d COMMAND`` and the scripts in ``tools/``. Imports are lazy: ``--help`` is quick."""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from importlib import import_module

# Each module brings ``add_arguments(parser)`` and ``run(args)``; its docstring describes the command.
COMMANDS = {
    "train": ("vdt3d.cli.train", "train a model"),
    "test": ("vdt3d.cli.test", "test a trained model"),
    "evaluate": ("vdt3d.cli.evaluate", "score predicted label maps against their references"),
    "choose-thresholds": ("vdt3d.cli.choose_thresholds", "choose, on validation, when a voxel belongs to a region"),
    "inspect": ("vdt3d.cli.inspect", "look a data set over: outliers, duplicates, leaks"),
    "prepare": ("vdt3d.cli.prepare", "convert, check and cache a data set"),
    "split": ("vdt3d.cli.split", "deal a segmentation data set out to folds"),
    "convert-masks": ("vdt3d.cli.convert_masks", "masks of slices as csv, NIfTI, PNG or npy: any into any"),
    "predict": ("vdt3d.cli.predict", "label scans with a trained model"),
    "kfold": ("vdt3d.cli.kfold", "train and test every fold, and score them together"),
    "lr-find": ("vdt3d.cli.lr_find", "find the learning rate"),
    "overfit": ("vdt3d.cli.overfit", "see whether a model learns a few cases by heart, and if not, why"),
    "tune": ("vdt3d.cli.tune", "search settings with Optuna"),
    "calibrate": ("vdt3d.cli.calibrate", "fit a temperature on validation, and tell how far to trust the scores"),
    "explain": ("vdt3d.cli.explain", "show what in a scan an answer rests on"),
    "runs": ("vdt3d.cli.runs", "list, compare and repeat runs"),
    "compare-inits": ("vdt3d.cli.compare_inits", "train all initialisations alike, and tell what each is worth"),
    "print-config": ("vdt3d.cli.print_config", "show a config as merged, and where each type in it lives"),
    "browse": ("vdt3d.cli.browse", "draw what a model is really fed"),
    "download": ("vdt3d.cli.download", "fetch published weights, or list them"),
    "convert": ("vdt3d.cli.convert", "carry 2D weights over to 3D, as a file"),
    "publish": ("vdt3d.cli.publish", "make weights ready to pass on"),
    "examine": ("vdt3d.cli.examine", "show what a checkpoint holds, and whether it would fit"),
    "flops": ("vdt3d.cli.flops", "count a network's parameters and operations"),
    "doctor": ("vdt3d.cli.doctor", "look at what a run would meet here: packages, devices, disk, data"),
    "demo": ("vdt3d.cli.demo", "pre-train, fine-tune, test and draw on made-up data, in minutes"),
}


def main(argv: list[str] | None = None) -> None:
    """Run one command.

    Raises:
        SystemExit: 2 for what the user can mend, said in one line; 143 for a run that was asked to stop.
    """
    argv = sys.argv[1:] if argv is None else argv
    module, rest = import_module(COMMANDS[_command(argv[:1])][0]), argv[1:]
    parser = ArgumentParser(f"vdt3d {argv[0]}", description=module.__doc__)
    module.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the whole traceback of an error")
    args = parser.parse_args(rest)
    try:
        module.run(args)
    except KeyboardInterrupt:
        parser.exit(130, f"{parser.prog}: interrupted\n")
    except Exception as error:
        if args.debug or not _is_the_users(error):
            raise
        parser.exit(2, f"{parser.prog}: error: {_in_short(error)}\n")


def _command(argv: list[str]) -> str:
    width = max(map(len, COMMANDS)) + 2
    table = "\n".join(f"  {name:{width}}{text}" for name, (_, text) in COMMANDS.items())
    parser = ArgumentParser(
        "vdt3d",
        description=f"3D medical models from 2D knowledge.\n\ncommands:\n{table}",
        epilog="vdt3d COMMAND --help says more.",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND")
    return parser.parse_args(argv).command


def _is_the_users(error: Exception) -> bool:
    """Whether the message alone tells what to mend: bad input, a missing file, a full disk, a wrong name or config."""
    from vdt3d.registry import UnknownTypeError

    return isinstance(error, ValueError | OSError | UnknownTypeError)


def _in_short(error: Exception) -> str:
    """The message; of an error in a data loader's worker, which carries a traceback, the last line."""
    text = str(error).strip()
    return text.splitlines()[-1] if "Original Traceback" in text else text
