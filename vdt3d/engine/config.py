"""The reader of configs, for the command line and in Python: bases merged, names checked, choices resolved."""

import re
from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from mmengine.config import Config

from vdt3d.engine.config_names import CHOICES, check_names, run_settings, takes
from vdt3d.engine.inits import apply_init, inits_of
from vdt3d.registry import DATASETS, MODELS
from vdt3d.utils.files import find_config
from vdt3d.utils.removed_configs import replacement_of_base
from vdt3d.utils.signatures import nearest

SPLITS = ("train", "val", "test")


def read_config(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """Read a config of this folder or of the installed package.

    Args:
        overrides: values by key (dots go deeper). ``init``, ``inits`` and ``window`` take part in what is resolved, all
            others are merged in afterwards.

    Raises:
        FileNotFoundError: there is no such config.
        ValueError: the file is not valid Python, has a name at its top level that no run reads, or an override does not
            fit.
    """
    config, overrides = _read(path, overrides), dict(overrides or {})
    try:
        config = resolve_config(config, overrides)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    _merge(config, {key: value for key, value in overrides.items() if _first(key) not in CHOICES})
    return config


def init_names(path: str | Path, overrides: Mapping[str, Any] | None = None) -> list[str]:
    """Return the names of the initialisations that a config has.

    Raises:
        FileNotFoundError, ValueError: as ``read_config``.
    """
    config = _read(path, overrides)
    try:
        _merge(config, {key: value for key, value in (overrides or {}).items() if _first(key) == "inits"})
        return list(inits_of(config))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read(path: str | Path, overrides: Mapping[str, Any] | None) -> Config:
    """Return a config as its files have it, its names and those of the overrides checked."""
    path = find_config(Path(path))
    if re.search(r"^\s*with read_base\(\)", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE):
        raise ValueError(f"{path}: read_base() is not supported; write _base_ = [...], and types as strings")
    try:
        config = Config.fromfile(path, lazy_import=False)
    except Exception as error:  # the user's code ran
        raise ValueError(f"{path}: {type(error).__name__}: {error}{replacement_of_base(error)}") from error
    check_names(config, path)
    for key in overrides or {}:
        _require_setting(key, set(config))
    return config


def resolve_config(config: Config, overrides: Mapping[str, Any] | None = None) -> Config:
    """Return a config in which ``init`` and ``window`` have gone to where they are used; see configs/README.md.

    A config that was resolved before stays as it is.

    Args:
        overrides: values by key. Those of ``init``, ``inits.NAME...`` and ``window...`` are applied; ``load_from`` is
            looked at, since it may contradict ``init``.

    Raises:
        ValueError: an initialisation that the table lacks, or windows that contradict one another.
    """
    overrides = dict(overrides or {})
    if not any(_first(key) in CHOICES for key in (*overrides, *(key for key in config if config[key] is not None))):
        return config
    config = _copy(config)
    _merge(config, {key: value for key, value in overrides.items() if _first(key) == "inits"})
    apply_init(config, {key: value for key, value in overrides.items() if key in ("init", "load_from")})
    _apply_window(config, {key: value for key, value in overrides.items() if _first(key) == "window"})
    return config


def _first(key: str) -> str:
    return key.partition(".")[0]


def _copy(config: Config) -> Config:
    """Return a config of its own, which keeps the file and the text of the given one."""
    return Config(
        deepcopy(config.to_dict()),
        cfg_text=getattr(config, "text", "") or "# no file",
        filename=getattr(config, "filename", None),
        format_python_code=getattr(config, "_format_python_code", True),
    )


def _merge(config: Config, overrides: Mapping[str, Any]) -> None:
    try:
        config.merge_from_dict(dict(overrides))
    except Exception as error:  # such as a key below a list or a number
        raise ValueError(f"--cfg-options {', '.join(overrides)}: {type(error).__name__}: {error}") from error


def _apply_window(config: Config, chosen: Mapping[str, Any]) -> None:
    """Let the model and every data set with windows have the ``window`` at the top level of a config.

    Raises:
        ValueError: the model reads no windows, or a part has another window of its own.
    """
    model, window = config.get("model") or {}, config.get("window")
    if not chosen and not isinstance(window, Mapping):  # a file may keep something else under this name
        return
    if not takes(MODELS, model, "window"):
        if chosen:
            raise ValueError(f"{next(iter(chosen))}: the model, {model.get('type')}, reads no windows of slices")
        return
    parts = {"model": model, **dict(_with_windows(config))}
    if isinstance(window, Mapping):
        for place, part in parts.items():
            _require_same(f"{place}.window", part.get("window"), window)
    whole = Config({"window": window if isinstance(window, Mapping) else model.get("window") or {}})
    _merge(whole, chosen)
    for part in parts.values():
        part["window"] = deepcopy(whole.window)
    config.pop("window", None)


def _require_same(place: str, own: Mapping[str, Any] | None, window: Mapping[str, Any]) -> None:
    differing = [key for key, value in (own or {}).items() if window.get(key) != value]
    if differing:
        raise ValueError(
            f"{place} has {differing[0]}={own[differing[0]]!r}, but window at the top level is {dict(window)}; set the "
            "latter only"
        )


def _with_windows(config: Config) -> Iterator[tuple[str, Any]]:
    """Yield the place and the settings of each data set that has an argument ``window``."""
    for split in SPLITS:
        place, part = f"{split}_dataloader.dataset", (config.get(f"{split}_dataloader") or {}).get("dataset")
        while isinstance(part, Mapping):
            if takes(DATASETS, part, "window"):
                yield place, part
            place, part = f"{place}.dataset", part.get("dataset")


def _require_setting(key: str, names: Collection[str]) -> None:
    """Raise ValueError for an override that nothing would read.

    Args:
        key: what is overridden, with dots.
        names: the names in the config file; of those that are no settings, the values have gone where they are used.
    """
    first, settings = _first(key), run_settings() | CHOICES
    if first in settings:
        return
    if first in names:
        raise ValueError(
            f"--cfg-options {key}: '{first}' is a name that the config file itself uses, and not read later; "
            "change the settings it went to (vdt3d print-config shows them)"
        )
    raise ValueError(f"--cfg-options {key}: a run has no setting '{first}'{nearest(first, settings)}")
