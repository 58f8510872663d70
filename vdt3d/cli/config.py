"""From the command line's words to the config a runner is built from."""

import ast
import re
import warnings
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

LAUNCHERS = ("none", "pytorch", "slurm")
CHECKPOINT = "weights: a path, http(s):// address, torchvision:// or zoo: name"


def quiet_imports() -> None:
    """Load the third-party packages that chatter on import, without their chatter; at the entries only."""
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        import mmpretrain.datasets
        import mmpretrain.models  # noqa: F401
        import mmseg.datasets
        import mmseg.models  # noqa: F401


def add_config_arguments(
    parser: ArgumentParser, what: str = "config file; of this folder or of the installed package"
) -> None:
    """What every command that reads a config has; ``what`` says what else it may be given in its place."""
    parser.add_argument("config", type=Path, help=what)
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="override settings, dots go deeper",
    )


def add_run_arguments(parser: ArgumentParser) -> None:
    """What training and testing have in common."""
    add_config_arguments(parser)
    parser.add_argument(
        "--work-dir", type=Path, help="where checkpoints and logs go (default: work_dirs/CONFIG[_INIT])"
    )
    parser.add_argument(
        "--launcher", choices=LAUNCHERS, help="what started this process among others (default: the config's, or none)"
    )


def add_dropout_argument(parser: ArgumentParser) -> None:
    """What every command that answers with several draws of dropout has."""
    parser.add_argument(
        "--mc-dropout", type=int, default=0, metavar="N", help="leave dropout on: the mean of N draws decides"
    )


def load_config(args: Namespace):
    """Return the config that a command is given, ``--cfg-options`` merged in.

    Raises:
        FileNotFoundError, ValueError: as ``vdt3d.engine.config.read_config``; or an override is not ``key=value``.
    """
    overrides = overrides_of(args)
    quiet_imports()
    from vdt3d.engine.config import read_config

    return read_config(args.config, overrides)


def overrides_of(args: Namespace) -> dict[str, object]:
    """Return ``--cfg-options`` as values by key.

    Raises:
        ValueError: one is not ``key=value``, or its value is not valid Python.
    """
    return dict(_override(text) for text in args.cfg_options)


def run_name(args: Namespace) -> str:
    """Return the name of the config file, and behind it the initialisation that ``--cfg-options init=NAME`` chose."""
    chosen = overrides_of(args).get("init")
    return args.config.stem if chosen is None else f"{args.config.stem}_{chosen}"


def load_run_config(args: Namespace, *needed: str):
    """The same for a run: with its ``launcher``, a ``work_dir`` and a ``default_scope``.

    Args:
        needed: settings that it takes, such as ``train_dataloader``.

    Raises:
        ValueError: also if the config describes no model, or lacks what is needed.
    """
    config = load_config(args)
    require_model(config, args.config)
    require(config, args.config, *needed)
    if "default_scope" not in config:  # where types are looked up; a config need not inherit default_runtime.py
        config.default_scope = "vdt3d"
    config.launcher = args.launcher or config.get("launcher", "none")
    if args.work_dir is not None:
        if args.work_dir.is_file():
            raise ValueError(f"--work-dir {args.work_dir} is a file; name a folder")
        config.work_dir = str(args.work_dir)
    elif config.get("work_dir") is None:
        config.work_dir = str(Path("work_dirs") / run_name(args))
    return config


def answer_with(config, checkpoints: Sequence[str], mc_dropout: int = 0) -> None:
    """Let a run answer with these weights: an ensemble where there are several, or draws of dropout."""
    config.load_from, config.resume = checkpoints[0], False
    if len(checkpoints) > 1 or mc_dropout:
        hook = dict(type="EnsembleHook", checkpoints=list(checkpoints[1:]), mc_dropout=mc_dropout)
        config.custom_hooks = [*config.get("custom_hooks", []), hook]


def test_on_validation(config) -> None:
    """Let the test of a run go over the validation cases, in place of its own.

    Raises:
        ValueError: there are none.
    """
    if config.get("val_dataloader") is None:
        raise ValueError("the config has no val_dataloader, whose cases this is chosen on")
    config.test_dataloader = config.val_dataloader
    config.test_cfg = {"fp16": bool((config.get("val_cfg") or {}).get("fp16"))}
    config.val_dataloader = config.val_cfg = config.val_evaluator = None


def load_model(path: Path) -> tuple:
    """A config and the model it describes, on the CPU, as it is before any weights are loaded.

    Raises:
        FileNotFoundError, ValueError: as ``load_run_config``.
    """
    config = load_config(Namespace(config=path, cfg_options=[]))
    require_model(config, path)
    from mmengine.registry import DefaultScope

    from vdt3d.registry import MODELS

    with DefaultScope.overwrite_default_scope("vdt3d"):
        return config, MODELS.build({"data_preprocessor": config.get("data_preprocessor")} | config.model)


def require_model(config, path: Path) -> None:
    """Raise ValueError for a config that describes no model."""
    if "model" not in config:
        raise ValueError(f"{path}: there is no model in it; a part of a config (_base_) cannot be run by itself")


def require(config, path: Path, *needed: str) -> None:
    """Raise ValueError for a config without a setting that is ``needed``."""
    for name in needed:
        if config.get(name) is None:
            raise ValueError(f"{path}: there is no {name} in it; configs/debug/classify.py shows what a config is")


def pattern(text: str) -> str:
    """A regular expression, as an argument's type."""
    try:
        re.compile(text)
    except re.error as error:
        raise ArgumentTypeError(f"'{text}' is no regular expression: {error}") from None
    return text


def _override(text: str) -> tuple[str, object]:
    key, divider, value = text.partition("=")
    if not divider or not key:
        raise ValueError(f"--cfg-options wants key=value, got '{text}'")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError) as error:  # a bare word is a string
        if value.startswith(("[", "(", "{")):
            raise ValueError(f"--cfg-options {key}: {value} is no Python; words in it want quotes") from error
        return key, {"true": True, "false": False, "none": None}.get(value.lower(), value)
