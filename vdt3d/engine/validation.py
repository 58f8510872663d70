"""Check the settings of a run before anything is built from them: names, types, ranges, and what fits together."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from mmengine.registry import LOG_PROCESSORS, OPTIMIZERS
from mmengine.registry import Registry as MMRegistry
from mmengine.runner.priority import Priority
from torch import nn

from vdt3d.engine.data import build_dataloader
from vdt3d.registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    LOOPS,
    METRICS,
    MODELS,
    OPTIM_WRAPPERS,
    PARAM_SCHEDULERS,
    TRANSFORMS,
    VISBACKENDS,
    VISUALIZERS,
    UnknownTypeError,
)
from vdt3d.utils.signatures import check_arguments, check_keys, check_type, fits, nearest

# Settings whose receivers ignore what they do not know, or fail in a traceback.
_KEYS: dict[str, dict[str, Any]] = {
    "randomness": {"seed": int | None, "diff_rank_seed": bool, "deterministic": bool},
    "auto_scale_lr": {"enable": bool, "base_batch_size": int},
    "env_cfg": {"cudnn_benchmark": bool, "mp_cfg": dict, "dist_cfg": dict, "resource_limit": int},
    "env_cfg.mp_cfg": {"mp_start_method": Literal["fork", "spawn", "forkserver"], "opencv_num_threads": int},
    "env_cfg.dist_cfg": {"backend": str, "timeout": float},
}
_SCALARS: dict[str, Any] = {
    "work_dir": str,
    "experiment_name": str | None,
    "load_from": str | None,
    "init_name": str | None,
    "resume": bool | str | None,
    "inflate": Literal["i3d", "centre", None],
    "min_matched": float,
    "channels_last": bool,
    "find_unused_parameters": bool,
    "compile": bool | dict | None,
}
_LEAST = {
    "min_matched": 0,
    "train_cfg.max_epochs": 1,
    "train_cfg.max_iters": 1,
    "train_cfg.val_interval": 1,
    "train_cfg.val_begin": 0,
    "auto_scale_lr.base_batch_size": 1,
    "optim_wrapper.accumulative_counts": 1,
    "optim_wrapper.optimizer.lr": 0,
    "randomness.seed": 0,
    **{
        f"{split}_dataloader.{name}": least
        for split in ("train", "val", "test")
        for name, least in {"batch_size": 1, "num_workers": 0, "prefetch_factor": 1}.items()
    },
}
_MOST = {"min_matched": 1}
# Default hooks of mmengine and of configs/_base_/default_runtime.py.
_DEFAULT_HOOKS = {
    *("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint"),
    *("scores", "record", "non_finite", "report", "progress", "preemption"),
}
_PARTS_OF_DATA = {
    "dataset": DATASETS,
    "datasets": DATASETS,
    "pipeline": TRANSFORMS,
    "transforms": TRANSFORMS,
    "sampler": DATA_SAMPLERS,
}


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse settings of a run that are misspelt, of a wrong type, out of range, or that contradict one another.

    Args:
        settings: of ``Runner``, by name, as they stand in a config; parts may be built already.

    Raises:
        ValueError: the message has the key, the value found and what was expected.
        UnknownTypeError: a part names a ``type`` that no registry knows.
    """
    for name, kind in _SCALARS.items():
        if name in settings:
            check_type(name, settings[name], kind)
    for name, known in _KEYS.items():
        given = _at(settings, name)
        if _is_config(name, given):
            check_keys(name, given, known)
    _check_level(settings.get("log_level", "INFO"))
    _check_complete(settings)
    scope = settings.get("default_scope") or "mmengine"
    if scope not in (scopes := {"mmengine", *MODELS.parent.children}):
        raise ValueError(f"default_scope='{scope}' is none of {', '.join(sorted(scopes))}{nearest(scope, scopes)}")
    if scope == "vdt3d":  # elsewhere the names of types are those of other packages
        _check_parts(settings)
    for name, least in _LEAST.items():
        value, most = _at(settings, name), _MOST.get(name, math.inf)
        if isinstance(value, str | bool | list | tuple | Mapping):
            raise ValueError(f"{name}={value!r}, expected a number")
        if isinstance(value, int | float) and not least <= value <= most:
            raise ValueError(f"{name}={value!r}, expected {least} {'or more' if most == math.inf else f'to {most}'}")


def _check_parts(settings: Mapping[str, Any]) -> None:
    """Check the types and arguments of all parts that are built from dicts."""
    _check_part("model", settings.get("model"), MODELS, complete=False)
    _check_inside("model", settings.get("model"))
    for split in ("train", "val", "test"):
        _check_loop(f"{split}_cfg", settings.get(f"{split}_cfg"))
        _check_loader(f"{split}_dataloader", settings.get(f"{split}_dataloader"))
    for name in ("val_evaluator", "test_evaluator"):
        for where, metric in _each(name, settings.get(name)):
            _check_part(where, metric, METRICS)
    _check_hooks(settings)
    _check_optimizer(settings.get("optim_wrapper"))
    for where, scheduler in _each("param_scheduler", settings.get("param_scheduler")):
        _check_part(where, scheduler, PARAM_SCHEDULERS, ("optimizer", "param_name", "end", "convert_to_iter_based"))
    _check_logs(settings)


def _at(settings: Mapping[str, Any], name: str) -> Any:
    """Return the setting at a dotted name; None where there is none."""
    value: Any = settings
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _is_config(where: str, value: Any) -> bool:
    """Return whether a setting is a dict; False for None and for a part that is built already.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, str | int | float | list | tuple):
        check_type(where, value, dict)
    return isinstance(value, Mapping)


def _each(where: str, value: Any) -> list[tuple[str, Any]]:
    """Return a part, or each of a list of parts, with its key."""
    if value is None:
        return []
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [(f"{where}[{place}]", part) for place, part in enumerate(value)]
    return [(where, value)]


def _check_part(
    where: str,
    part: Any,
    registry: MMRegistry,
    supplied: Sequence[str] = (),
    *,
    default: str = "",
    complete: bool = True,
) -> type | None:
    """Check a part's ``type`` and arguments; return its class, or None for one that is built or of another package."""
    if part is None:
        raise ValueError(f"{where}=None, expected dict(type=...)")
    if not _is_config(where, part):
        return None
    kind = part.get("type", default)
    if not kind:
        raise ValueError(f"{where} has no type; it has {', '.join(map(str, part)) or 'nothing'}")
    if part.get("_scope_", "vdt3d") != "vdt3d":
        return None
    try:
        cls = registry.get(kind) if isinstance(kind, str) else kind
    except UnknownTypeError as error:
        raise UnknownTypeError(f"{where}: {error}") from None
    if not callable(cls):
        raise ValueError(f"{where}.type={kind!r}, expected the name of a {registry.name} or a class")
    given = {name: value for name, value in part.items() if name not in ("type", "_scope_")}
    check_arguments(where, given, cls, supplied, complete=complete)
    return cls


def _check_inside(where: str, part: Any) -> None:
    """Check the arguments of our own classes in the parts of a model, at every level."""
    if not isinstance(part, Mapping):
        return
    for name, value in part.items():
        place = f"{where}.{name}"
        kind = value.get("type") if isinstance(value, Mapping) else None
        cls = MODELS.module_dict.get(kind) if isinstance(kind, str) else None
        if cls is not None and cls.__module__.startswith(("vdt3d.", "medseg.")):
            given = {key: item for key, item in value.items() if key not in ("type", "_scope_")}
            check_arguments(place, given, cls, complete=False)
        _check_inside(place, value)


def _check_level(level: Any) -> None:
    names = logging.getLevelNamesMapping()
    if isinstance(level, bool) or (not isinstance(level, int) and level not in names):
        raise ValueError(f"log_level={level!r} is none of {', '.join(names)}{nearest(str(level), names)}")


def _check_complete(settings: Mapping[str, Any]) -> None:
    """Refuse half of what a training, a validation or a test needs."""
    for split, third in (("train", "optim_wrapper"), ("val", "val_evaluator"), ("test", "test_evaluator")):
        names = (f"{split}_dataloader", f"{split}_cfg", third)
        missing = [name for name in names if settings.get(name) is None]
        if 0 < len(missing) < len(names):
            given = [name for name in names if name not in missing]
            raise ValueError(f"{', '.join(given)} given without {', '.join(missing)}; set all three or none")


def _check_loop(name: str, loop: Any) -> None:
    if not _is_config(name, loop):
        return
    given, default = dict(loop), {"val_cfg": "ValLoop", "test_cfg": "TestLoop"}.get(name)
    if name == "train_cfg" and "type" not in given:
        by_epoch = given.pop("by_epoch", True)
        check_type("train_cfg.by_epoch", by_epoch, bool)
        default = "EpochBasedTrainLoop" if by_epoch else "IterBasedTrainLoop"
    for length in ("max_epochs", "max_iters", "val_interval", "val_begin"):
        if isinstance(given.get(length), float) and given[length].is_integer():  # such as 4e4
            given[length] = int(given[length])
    _check_part(name, given, LOOPS, ("runner", "dataloader", "evaluator"), default=default)


def _check_loader(name: str, loader: Any) -> None:
    if _is_config(name, loader):
        check_arguments(name, loader, build_dataloader, ("seed",))
        _check_data(name, loader)


def _check_data(where: str, part: Mapping[str, Any]) -> None:
    """Check data sets, transforms and samplers within a loader, a data set or a transform."""
    for name, registry in _PARTS_OF_DATA.items():
        for place, inner in _each(f"{where}.{name}", part.get(name)):
            _check_part(place, inner, registry, ("dataset", "seed") if name == "sampler" else ())
            if isinstance(inner, Mapping):
                _check_data(place, inner)


def _check_hooks(settings: Mapping[str, Any]) -> None:
    hooks = settings.get("default_hooks") or {}
    check_type("default_hooks", hooks, dict)
    for name, hook in hooks.items():
        where = f"default_hooks.{name}"
        if name not in _DEFAULT_HOOKS and (hook is None or (isinstance(hook, Mapping) and "type" not in hook)):
            hint = nearest(name, _DEFAULT_HOOKS) or f"; known are {', '.join(sorted(_DEFAULT_HOOKS))}"
            raise ValueError(f"{where}: there is no default hook '{name}', and it has no type{hint}")
        if hook is not None:
            _check_hook(where, hook)
    custom = settings.get("custom_hooks")
    if custom is not None:
        check_type("custom_hooks", custom, list)
        for where, hook in _each("custom_hooks", custom):
            _check_hook(where, hook)


def _check_hook(where: str, hook: Any) -> None:
    priority = hook.get("priority") if isinstance(hook, Mapping) else None
    levels = Priority.__members__
    if isinstance(priority, str) and priority.upper() not in levels:
        raise ValueError(f"{where}.priority={priority!r} is none of {', '.join(levels)}{nearest(priority, levels)}")
    if not isinstance(priority, str | Priority | None) and not (fits(priority, int) and 0 <= priority <= 100):
        raise ValueError(f"{where}.priority={priority!r}, expected a name or a whole number in 0..100")
    if isinstance(hook, Mapping) and "rule" in hook:
        check_type(f"{where}.rule", hook["rule"], Literal["greater", "less", None])
    _check_part(where, hook, HOOKS, ("priority",))


def _check_optimizer(wrapper: Any) -> None:
    if not isinstance(wrapper, Mapping):
        if wrapper is not None and isinstance(wrapper, str | int | float | list | tuple | bool):
            check_type("optim_wrapper", wrapper, dict)
        return
    if (
        "constructor" in wrapper and "optimizer" not in wrapper
    ):  # a constructor of several optimizers knows its own keys
        return
    if "optimizer" not in wrapper:
        raise ValueError("optim_wrapper has no optimizer; give it optimizer=dict(type='AdamW', lr=...)")
    _check_part("optim_wrapper", wrapper, OPTIM_WRAPPERS, ("constructor", "paramwise_cfg"), default="OptimWrapper")
    _check_part("optim_wrapper.optimizer", wrapper["optimizer"], OPTIMIZERS.children["vdt3d"], ("params",))
    clip = wrapper.get("clip_grad")
    if _is_config("optim_wrapper.clip_grad", clip):
        kinds = {"norm": nn.utils.clip_grad_norm_, "value": nn.utils.clip_grad_value_}
        given = dict(clip)
        kind = given.pop("type", "norm")
        check_type("optim_wrapper.clip_grad.type", kind, Literal["norm", "value"])
        check_arguments("optim_wrapper.clip_grad", given, kinds[kind], ("parameters",))


def _check_logs(settings: Mapping[str, Any]) -> None:
    processor, visualizer = settings.get("log_processor"), settings.get("visualizer")
    if processor is not None:
        _check_part("log_processor", processor, LOG_PROCESSORS.children["vdt3d"], default="LogProcessor")
    if visualizer is not None:
        _check_part("visualizer", visualizer, VISUALIZERS, ("name", "vis_backends"), default="Visualizer")
        if isinstance(visualizer, Mapping):
            for where, backend in _each("visualizer.vis_backends", visualizer.get("vis_backends")):
                _check_part(where, backend, VISBACKENDS, ("save_dir",))
