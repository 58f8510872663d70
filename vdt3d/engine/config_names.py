"""Check of the names at the top level of a config file and of the files it builds on."""

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from vdt3d.registry import MODELS, Registry, UnknownTypeError
from vdt3d.utils.signatures import nearest, parameters

# Settings that a run reads besides the arguments of mmengine's runner.
OWN_SETTINGS = {
    *("channels_last", "compile", "find_unused_parameters", "inflate", "min_matched", "overwrite"),
    *("activation_checkpointing", "custom_imports", "efficient_conv_bn_eval", "model_wrapper_cfg", "runner_type"),
    "init_name",
}
CHOICES = {"init", "inits", "window"}  # which the reader of configs replaces by the settings they stand for
_FROM_BASE = re.compile(r"""_base_(?:\.get\(\s*["']|\[\s*["']|\.)(\w+)""")
_DYNAMIC = {"eval", "exec", "globals", "locals", "vars"}  # with one of these in a file, any name may be in use
_OWN_SCOPE = (ast.FunctionDef, ast.Lambda, ast.ClassDef, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def run_settings() -> set[str]:
    """Return the names of the settings that a run reads."""
    return OWN_SETTINGS.union(signature(Runner).parameters) - {"cfg"}


def takes(registry: Registry, part: Any, argument: str) -> bool:
    """Return whether what the config of a part builds has an argument of this name."""
    try:
        kind = part["type"]
        return argument in parameters(registry.get(kind) if isinstance(kind, str) else kind)[0]
    except (KeyError, TypeError, UnknownTypeError):  # building it will report that
        return False


def check_names(config: Mapping[str, object], path: Path | None) -> None:
    """Refuse top-level names that no run reads.

    A name that is no setting may stand in a Python file that uses it, or whose children use it as ``_base_.NAME``. A
    base may also offer a name that this config does not use, unless it resembles a setting. A name that begins with an
    underscore is the file's own. Files that a run wrote (no ``_base_``, sorted names) and configs made in Python may
    hold the names of the files they were made from; only names that resemble a setting are refused in them.

    Args:
        config: the merged config.
        path: the file it was read from; None if it was made in Python.

    Raises:
        ValueError: the message has the file, the name and the nearest setting.
    """
    windows = takes(MODELS, config.get("model") or {}, "window")
    settings = run_settings() | (CHOICES if windows else CHOICES - {"window"})
    if path is not None and path.suffix == ".py" and not _written_by_run(path):
        _check_file(path, settings)
        return
    unknown = [name for name in config if name not in settings and not name.startswith("_")]
    _refuse([name for name in unknown if _resembles(name, settings)], settings, path)


def _check_file(path: Path, settings: set[str], needed: set[str] | None = None) -> set[str]:
    """Check one file and those it builds on.

    Args:
        needed: names that the files built on this one take from it; None if no file builds on it.

    Returns:
        All names that this file and its bases define.
    """
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assigned = set(_assigned(tree))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store)}
    from_base = (needed or set()).union(_FROM_BASE.findall(text))
    defined: set[str] = set()
    for base in Config._get_base_files(str(path)):
        place = path.parent / base
        if place.suffix == ".py" and place.is_file():  # not one of an installed package, PACKAGE::FILE
            defined |= _check_file(place, settings, from_base)
    own = [name for name in assigned - settings - used - (needed or set()) if not name.startswith("_")]
    if not used & _DYNAMIC:
        overwritten = sorted(defined.intersection(own))
        if overwritten and needed is None:
            raise ValueError(
                f"{path}: '{overwritten[0]}' has no effect here: the file that defines it has used it already; "
                "change the settings it went to (vdt3d print-config shows them)"
            )
        _refuse([name for name in own if needed is None or _resembles(name, settings)], settings, path)
    return defined | assigned


def _resembles(name: str, settings: set[str]) -> bool:
    return bool(get_close_matches(name, settings, n=1, cutoff=0.8))


def _refuse(names: Collection[str], settings: set[str], path: Path | None) -> None:
    if names:
        private = "; remove it, or start it with _ if the file keeps it for its own use"
        told = [
            f"a run has no setting '{name}', and the config does not use it{nearest(name, settings) or private}"
            for name in sorted(names)
        ]
        raise ValueError(f"{'' if path is None else f'{path}: '}{'; '.join(told)}")


def _assigned(node: ast.AST) -> Iterator[str]:
    """Yield the names that a module's code stores at its top level."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            yield child.id
        elif not isinstance(child, _OWN_SCOPE):
            yield from _assigned(child)


def _written_by_run(path: Path) -> bool:
    """Return whether a file looks like a dumped config: literals under sorted names, and no ``_base_``."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    targets = [node.targets[0] for node in body if isinstance(node, ast.Assign)]
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    return len(names) == len(body) > 2 and "_base_" not in names and names == sorted(names)
