"""The one door for commands: ``vdt3d COMMAND`` and the scripts in ``tools/``. Imports are lazy: ``--help`` is quick."""

import shutil
import sys
import warnings
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from difflib import get_close_matches
from importlib import import_module
from textwrap import fill, indent
from typing import NoReturn

from vdt3d import __version__

# Each module brings ``EXAMPLE``, ``add_arguments(parser)`` and ``run(args)``; its docstring describes the command.
GROUPS = {
    "first steps": {
        "demo": ("vdt3d.cli.demo", "pre-train, fine-tune, test and draw on made-up data, in minutes"),
        "doctor": ("vdt3d.cli.doctor", "look at what a run would meet here: packages, devices, disk, data"),
        "completion": ("vdt3d.cli.completion", "let bash, zsh or fish complete commands and options"),
    },
    "data": {
        "prepare": ("vdt3d.cli.prepare", "convert, check and cache a data set"),
        "inspect": ("vdt3d.cli.inspect", "look a data set over: outliers, duplicates, leaks"),
        "split": ("vdt3d.cli.split", "deal a segmentation data set out to folds"),
        "browse": ("vdt3d.cli.browse", "draw what a model is really fed"),
        "convert-masks": ("vdt3d.cli.convert_masks", "masks of slices as csv, NIfTI, PNG or npy: any into any"),
    },
    "training": {
        "train": ("vdt3d.cli.train", "train a model"),
        "kfold": ("vdt3d.cli.kfold", "train and test every fold, and score them together"),
        "compare": ("vdt3d.cli.compare_inits", "train all initialisations alike, and tell what each is worth"),
        "tune": ("vdt3d.cli.tune", "search settings with Optuna"),
        "lr-find": ("vdt3d.cli.lr_find", "find the learning rate"),
        "overfit": ("vdt3d.cli.overfit", "see whether a model learns a few cases by heart, and if not, why"),
        "print-config": ("vdt3d.cli.print_config", "show a config as merged, and where each type in it lives"),
    },
    "judging": {
        "test": ("vdt3d.cli.test", "test a trained model"),
        "report": ("vdt3d.cli.report", "write runs, their scores and their cases as a page, with a slice viewer"),
        "runs": ("vdt3d.cli.runs", "list, compare and repeat runs"),
        "evaluate": ("vdt3d.cli.evaluate", "score predicted label maps against their references"),
        "explain": ("vdt3d.cli.explain", "show what in a scan an answer rests on"),
        "calibrate": ("vdt3d.cli.calibrate", "fit a temperature on validation, and tell how far to trust the scores"),
        "choose-thresholds": ("vdt3d.cli.choose_thresholds", "choose, on validation, when a voxel belongs to a region"),
    },
    "using": {
        "predict": ("vdt3d.cli.predict", "answer scans with a trained model: labels, classes or findings"),
        "export": ("vdt3d.cli.export", "write a trained network as ONNX or torch.export"),
    },
    "weights": {
        "download": ("vdt3d.cli.download", "fetch published weights, or list them"),
        "convert": ("vdt3d.cli.convert", "carry 2D weights over to 3D, as a file"),
        "examine": ("vdt3d.cli.examine", "show what a checkpoint holds, and whether it would fit"),
        "publish": ("vdt3d.cli.publish", "make weights ready to pass on"),
        "flops": ("vdt3d.cli.flops", "count a network's parameters and operations"),
    },
}
COMMANDS = {name: entry for group in GROUPS.values() for name, entry in group.items()}
FORMAT_WARNING = warnings.formatwarning


class OneLineParser(ArgumentParser):
    """A parser that says what is wrong in one line, and where the rest is told."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(argv: list[str] | None = None) -> None:
    """Run one command.

    Raises:
        SystemExit: with the code that docs/cli.md explains: 1 if some of it failed, 2 for what the user can mend, said
            in one line, 130 for an interruption, 143 for a run that was asked to stop.
    """
    warnings.formatwarning = _format_warning
    argv = sys.argv[1:] if argv is None else argv
    name = _command(argv[:1])
    parser = parser_of(name)
    args = parser.parse_args(argv[1:])
    try:
        import_module(COMMANDS[name][0]).run(args)
    except KeyboardInterrupt:
        parser.exit(130, f"{parser.prog}: interrupted\n")
    except Exception as error:
        message = None if args.debug else message_of(error)
        if message is None:
            raise
        from vdt3d.utils.once import once_per_node

        parser.exit(2, once_per_node(f"{parser.prog}: error: {message}\n"))


def parser_of(command: str) -> ArgumentParser:
    """The parser of one of ``COMMANDS``; its help ends with examples."""
    module = import_module(COMMANDS[command][0])
    width = shutil.get_terminal_size().columns - 2
    parser = OneLineParser(
        f"vdt3d {command}",
        description="\n\n".join(fill(part, width) for part in module.__doc__.strip().split("\n\n")),
        epilog="for example:\n" + indent(module.EXAMPLE, "  "),
        formatter_class=RawDescriptionHelpFormatter,  # which leaves an example on its line, whatever its length
    )
    module.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the whole traceback of an error")
    return parser


def _format_warning(message: Warning | str, category: type[Warning], *place, **line) -> str:
    """Return a warning as it is shown; of ours, which are about the user's files, without the line of code."""
    if category.__module__.startswith("vdt3d."):
        return f"warning: {message}\n"
    return FORMAT_WARNING(message, category, *place, **line)


def _command(argv: list[str]) -> str:
    from vdt3d.utils.notice import NOTICE

    width = max(map(len, COMMANDS)) + 2
    parts = [f"3D medical models from 2D knowledge. {NOTICE}"]
    for title, group in GROUPS.items():
        parts.append(f"{title}:\n" + "\n".join(f"  {name:{width}}{text}" for name, (_, text) in group.items()))
    parser = OneLineParser(
        "vdt3d",
        description="\n\n".join(parts),
        epilog="vdt3d COMMAND --help says more, with examples.",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"vdt3d {__version__}")
    parser.add_argument("command", metavar="COMMAND", help="one of those above")
    command = parser.parse_args(argv).command
    if command not in COMMANDS:
        near = get_close_matches(command, COMMANDS, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        parser.error(f"there is no command '{command}'{hint}")
    return command


def message_of(error: Exception) -> str | None:
    """Return the message of an error that the user can mend: bad input, a missing file, a full disk, a wrong config.

    None for another error, most likely a fault of this package.
    """
    from vdt3d.registry import UnknownTypeError

    not_installed = isinstance(error, ImportError) and "pip install" in str(error)  # such as a tracker of experiments
    if not_installed or isinstance(error, ValueError | OSError | FloatingPointError | UnknownTypeError):
        text = str(error).strip()
        # Of an error in a data loader's worker, which carries a traceback, the last line.
        return text.splitlines()[-1] if "Original Traceback" in text else text
    from vdt3d.utils.config_errors import explain

    return explain(error)
