"""Configs of plain values: what a run writes into its work directory, its record and its checkpoints loads again."""

import math
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.utils import get_object_from_string

STARTED_BY = ("launcher", "overwrite")  # how a run was started is no part of what it is


def plain_config(config: Config) -> Config:
    """Return a config in which every value is one that a config file can contain.

    NumPy numbers and arrays become Python's, paths become strings, and the class of a ``type`` becomes its import path.
    Classes that a config file imports are left out.

    Raises:
        ValueError: another object is a value, such as a class outside of ``type``; the message names its key.
    """
    content = config.to_dict() if isinstance(config, Config) else dict(config)
    settings = {key: _plain(value, key) for key, value in content.items() if not isinstance(value, type)}
    return _with(config, settings)


def config_to_write(config: Config) -> Config:
    """Return a plain config whose text is valid Python also for inf and nan, without ``launcher`` and ``overwrite``."""
    return _with(config, {key: _written(value) for key, value in config.items() if key not in STARTED_BY})


def _with(config: Config, settings: dict[str, Any]) -> Config:
    return Config(
        settings,
        cfg_text=getattr(config, "text", "") or "# no file",
        filename=getattr(config, "filename", None),
        format_python_code=getattr(config, "_format_python_code", True),
    )


def _plain(value: Any, key: str) -> Any:
    match value:
        case Mapping():
            return {_plain(name, key): _plain(part, f"{key}.{name}") for name, part in value.items()}
        case list() | tuple() | set():
            return type(value)(_plain(part, f"{key}.{place}") for place, part in enumerate(value))
        case np.ndarray() | np.generic():
            return value.tolist()
        case PurePath():
            return str(value)
        case range():
            return list(value)
        case str() | bytes() | bool() | int() | float() | complex() | None:
            return value
    name = f"{getattr(value, '__module__', None)}.{getattr(value, '__qualname__', None)}"
    if re.search(r"(^|\.)type$", key) and get_object_from_string(name) is value:
        return name
    raise ValueError(
        f"{key}: {value!r} cannot be written into the config that a run keeps; use plain values, and for a part its "
        "registered name or import path as type"
    )


class _Text(float):
    """A float that is not finite and is printed as Python that gives it again."""

    def __str__(self) -> str:
        return f"float('{float(self)}')"


def _written(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _written(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_written(part) for part in value)
    return _Text(value) if isinstance(value, float) and not math.isfinite(value) else value
