"""Initialisations of a network: a table of alternatives in a config (``inits``), one of which ``init`` names."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from mmengine.config import Config

from vdt3d.engine.config_names import run_settings, takes
from vdt3d.registry import MODELS
from vdt3d.utils.signatures import nearest

WEIGHTS = ("load_from", "inflate", "min_matched")  # settings that only concern the weights a run starts from
CONVERSIONS = ("i3d", "centre", "acs", "2.5d")  # of 2D weights into 3D networks
SCRATCH = "scratch"


def inits_of(config: Config) -> dict[str, dict[str, Any]]:
    """Return the table of a config: its ``inits``, else the default for its backbone.

    Raises:
        ValueError: the config was written by a run, which has resolved ``init``; or the table is not a dict of dicts.
    """
    table = config.get("inits")
    if table is None:
        if config.get("init_name") is not None:
            raise ValueError(
                f"the run that wrote this config started from init='{config.init_name}', which cannot be changed here; "
                "use the config that the run was given"
            )
        return default_inits(config)
    if not isinstance(table, Mapping) or not all(isinstance(row, Mapping) for row in table.values()):
        raise ValueError(f"inits={table!r}, expected a dict of settings for each name, such as dict(scratch=dict())")
    return dict(table)


def default_inits(config: Config) -> dict[str, dict[str, Any]]:
    """Return the initialisations that are known for the backbone of a config without ``inits``.

    'scratch' for every model, 'pretrained' for the weights that the config names, and the conversions of 2D weights
    for backbones that have an argument ``conv`` (``ResNet3D``) or ``how`` (``Convert2d``). A conversion whose weights
    are not known has no ``load_from``.
    """
    backbone = (config.get("model") or {}).get("backbone") or {}
    source = config.get("load_from")
    table: dict[str, dict[str, Any]] = {SCRATCH: {"load_from": None}}
    if source is not None:
        table["pretrained"] = {name: config[name] for name in WEIGHTS if config.get(name) is not None}
    for name in CONVERSIONS:
        if takes(MODELS, backbone, "how"):
            table[name] = _row(source or _address(backbone.get("model")), model={"backbone": {"how": name}})
        elif takes(MODELS, backbone, "conv"):
            fills = name in ("i3d", "centre")
            row = _row(_resnet(backbone), model={"backbone": {"conv": "3d" if fills else name}})
            table[name] = row | ({"inflate": name} if fills else {})
    return table


def _row(source: str | None, **settings: Any) -> dict[str, Any]:
    return ({} if source is None else {"load_from": source}) | settings


def _address(model: Any) -> str | None:
    """Return where the weights of a network named ``torchvision.NAME`` are downloaded from."""
    package, _, name = model.partition(".") if isinstance(model, str) else ("", "", "")
    return f"torchvision://{name}" if package == "torchvision" else None


def _resnet(backbone: Mapping[str, Any]) -> str | None:
    """Return the 2D weights for a ``ResNet3D`` whose depth and width torchvision has."""
    fits = backbone.get("depth") in (18, 34, 50, 101, 152) and backbone.get("base_channels", 64) == 64
    return f"torchvision://resnet{backbone['depth']}" if fits else None


def apply_init(config: Config, choices: Mapping[str, Any]) -> None:
    """Merge the settings of one initialisation over a config; its name stays as ``init_name``.

    For the one that the file itself names, ``load_from``, ``inflate`` and ``min_matched`` of the file stay as they are.
    For another one they are cleared first.

    Args:
        choices: ``init`` and ``load_from``, where they are overridden.

    Raises:
        ValueError: the name is not in the table; or the weights contradict the name, or are not known.
    """
    own = config.get("init")
    name = choices.get("init", own)
    if name is None and "init" not in choices:
        config.pop("inits", None)
        return
    table = inits_of(config)
    if name not in table:
        raise ValueError(f"init='{name}': expected one of {', '.join(table)}{nearest(str(name), table)}")
    row = deepcopy(dict(table[name]))
    check_row(name, row)
    if name == own and not (name == SCRATCH and "init" in choices):
        row = _without_own(config, row)
    else:
        for setting in WEIGHTS:
            config.pop(setting, None)
    for setting in ("init", "inits"):
        config.pop(setting, None)
    config.merge_from_dict(row, allow_list_keys=False)
    starts = choices.get("load_from", config.get("load_from"))
    if name in CONVERSIONS and starts is None and "load_from" not in choices:
        raise ValueError(f"init='{name}': 2D weights for this network are not known; name them with load_from=FILE")
    if name == SCRATCH and starts is not None:
        if "init" in choices:
            raise ValueError(f"init='{SCRATCH}' contradicts load_from={starts}; remove one of them")
        return  # the file, or an override, names weights after all
    if starts is not None or table[name].get("load_from") is None:  # an override may have taken the weights away
        config.init_name = name


def check_row(name: str, row: Mapping[str, Any]) -> None:
    """Raise ValueError for a setting that no run reads in a row of the table."""
    for key in row:
        if key not in run_settings():
            raise ValueError(f"inits.{name}: a run has no setting '{key}'{nearest(key, run_settings())}")


def _without_own(config: Config, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without the settings of weights that the file has itself."""
    if "load_from" in config and config.load_from is None and row.get("load_from") is not None:
        raise ValueError(
            f"load_from=None contradicts init='{config.init}', which starts from {row['load_from']}; remove one of "
            f"them, or set init='{SCRATCH}'"
        )
    return {key: value for key, value in row.items() if key not in WEIGHTS or key not in config}
