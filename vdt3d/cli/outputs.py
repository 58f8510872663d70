"""The option that commands share which write a file or folder that the user names."""

from argparse import ArgumentParser


def add_overwrite_argument(parser: ArgumentParser) -> None:
    """Add ``--overwrite``, without which ``vdt3d.utils.outputs.check_outputs`` refuses existing files."""
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist; inputs are never replaced")
