"""The record of a run: all that is needed to tell what it was, and to repeat it, in one json in its work directory."""

import ast
import hashlib
import json
import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

import vdt3d
from vdt3d.engine.data import KeyedDataset
from vdt3d.engine.runner import Runner
from vdt3d.utils.files import package_roots

NAME = "record.json"
CASES = 10_000  # of a split whose names and files make up its fingerprint


def describe(runner: Runner, splits: tuple[str, ...]) -> dict[str, Any]:
    """What is known of a run when it begins; see ``RunRecordHook``."""
    loaders = {split: getattr(runner, f"{split}_dataloader") for split in splits}
    return {
        "vdt3d": vdt3d.__version__,
        "config": runner.config_text,
        "config_file": Path(runner.cfg.filename).name if runner.cfg.filename else None,
        "init": runner.cfg.get("init_name"),
        "command": command(),
        "seed": runner.seed,
        "git": git_state(),
        "packages": packages(),
        "environment": environment(runner.world_size),
        "data": {split: fingerprint(loader.dataset) for split, loader in loaders.items()},
        "started": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "seconds": 0.0,
        "finished": False,
        "results": {},
    }


def command() -> str:
    """The command line, without the folder of the program; the user's home is called ``~``."""
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    home = str(Path.home())
    return shlex.join(word.replace(home, "~") if home != "/" else word for word in words)


@cache
def git_state() -> dict[str, str] | None:
    """``commit``, ``diff`` of what is tracked, and ``untracked``, names of what is not; None outside a checkout."""
    root, _ = package_roots()

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", root, *words], check=True, capture_output=True, text=True).stdout.strip()

    if not (root / ".git").exists():
        return None
    try:
        commit, diff = git("rev-parse", "HEAD"), git("diff", "HEAD")
        return {"commit": commit, "diff": diff, "untracked": git("ls-files", "--others", "--exclude-standard")}
    except (OSError, subprocess.CalledProcessError):  # no git, or a checkout without commit
        return None


@cache
def packages() -> dict[str, str]:
    """Name and version of all that is installed."""
    return dict(sorted((package.metadata["Name"], package.version) for package in distributions()))


def environment(processes: int) -> dict[str, Any]:
    """Where it runs, without names."""
    devices = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cuda": torch.version.cuda,
        "devices": devices,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "processes": processes,
    }


def fingerprint(dataset: Any) -> dict[str, Any]:
    """``type``, ``cases``, and ``digest`` of what the data set knows of them: names, labels, and sizes of the files.

    Of more than ``CASES`` cases, so many of them in even steps. Where a file lies, and when it was written, does not
    matter.
    """
    inner = dataset = dataset.dataset if isinstance(dataset, KeyedDataset) else dataset
    told = {"type": type(dataset).__name__, "cases": len(dataset)}
    while not hasattr(inner, "get_data_info") and hasattr(inner, "dataset"):
        inner = inner.dataset
    if not hasattr(inner, "get_data_info"):
        return told
    digest = hashlib.sha256()
    for index in range(0, len(inner), math.ceil(len(inner) / CASES) or 1):
        digest.update(json.dumps(_placeless(inner.get_data_info(index)), sort_keys=True, default=str).encode())
    return {**told, "digest": digest.hexdigest()[:16]}


def _placeless(value: Any) -> Any:
    """``value`` with the name and size of a file in place of its path."""
    if isinstance(value, Mapping):
        return {str(key): _placeless(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_placeless(part) for part in value]
    if isinstance(value, str | Path) and os.sep in str(value):
        path = Path(value)
        return [path.name, path.stat().st_size if path.is_file() else None]
    return value


# ---- read again ------------------------------------------------------------------------------------------------------


def read_records(path: Path) -> dict[str, dict[str, Any]]:
    """The records in a ``record.json``, or in that of a work directory: of ``train``, ``test``, or both.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no record of ours.
    """
    path = path / NAME if path.is_dir() else path
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
        if not all("config" in records[kind] and "results" in records[kind] for kind in records):
            raise KeyError("config")
    except (json.JSONDecodeError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path}: is no record of a run ({error!r}); give the {NAME} of a work directory") from error
    return records


def config_of(record: Mapping[str, Any], work_dir: Path) -> Config:
    """The config that repeats a run, in another work directory. It is read as data; none of it is run.

    Raises:
        ValueError: it holds more than settings.
    """
    settings = {}
    try:
        for line in ast.parse(record["config"]).body:
            (target,) = line.targets
            settings[target.id] = _literal(line.value)
    except (SyntaxError, AttributeError, ValueError) as error:
        raise ValueError(f"the config in the record holds something else than settings: {error}") from error
    if "custom_imports" in settings:
        import_modules_from_strings(**settings["custom_imports"])
    config = Config(settings, cfg_text=record["config"], filename=record["config_file"])
    config.work_dir, config.resume, config.launcher = str(work_dir), False, "none"
    config.merge_from_dict({"randomness.seed": record["seed"]})
    return config


def _literal(node: ast.expr) -> Any:
    """Return the value of an expression of literals, ``dict(name=...)``, ``dict({...})`` and ``float('inf')``."""
    match node:
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords) if all(word.arg for word in keywords):
            return {word.arg: _literal(word.value) for word in keywords}
        case ast.Call(func=ast.Name(id="dict"), args=[ast.Dict() as content], keywords=[]):  # of keys with dots
            return _literal(content)
        case ast.Call(
            func=ast.Name(id="float"), args=[ast.Constant(value="inf" | "-inf" | "nan" as text)], keywords=[]
        ):
            return float(text)
        case ast.Dict(keys=keys, values=values):
            return {_literal(key): _literal(value) for key, value in zip(keys, values, strict=True)}
        case ast.List(elts=parts):
            return [_literal(part) for part in parts]
        case ast.Tuple(elts=parts):
            return tuple(_literal(part) for part in parts)
        case _:
            return ast.literal_eval(node)


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What surrounds two runs and is not the same, a line each: data, code, packages, environment."""
    found = []
    for split in sorted(before["data"].keys() | now["data"].keys()):
        one, other = (record["data"].get(split) for record in (before, now))
        if one != other:
            found.append(f"the {split} cases: {one} -> {other}")
    if before["git"] != now["git"]:
        commits = [(record["git"] or {}).get("commit", "no checkout")[:12] for record in (before, now)]
        found.append(f"the code: {' -> '.join(commits)}, or what was not committed")
    for kind in ("packages", "environment"):
        for name in sorted(before[kind].keys() | now[kind].keys()):
            one, other = (record[kind].get(name) for record in (before, now))
            if one != other:
                found.append(f"{name}: {one} -> {other}")
    return found
