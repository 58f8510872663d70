"""Default constructor of optimizers: settings per group of parameters, every one of which must take effect."""

import inspect
import logging
from collections.abc import Mapping
from typing import Any

from mmengine.logging import MMLogger
from mmengine.optim import DefaultOptimWrapperConstructor as MMDefaultOptimWrapperConstructor
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import OPTIMIZERS
from torch import nn

from vdt3d.registry import OPTIM_WRAPPER_CONSTRUCTORS
from vdt3d.utils.signatures import check_keys, nearest, parameters

_RATES = ("lr_mult", "bias_lr_mult")
_DECAYS = ("decay_mult", "norm_decay_mult", "bias_decay_mult", "flat_decay_mult", "dwconv_decay_mult")
_KNOWN = {"custom_keys": dict, "bypass_duplicate": bool, **dict.fromkeys((*_RATES[1:], *_DECAYS[1:]), float)}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class DefaultOptimWrapperConstructor(MMDefaultOptimWrapperConstructor):
    """mmengine's constructor, which refuses settings without effect and applies general rules beside ``custom_keys``.

    A key of ``custom_keys`` that sets only ``lr_mult`` leaves the decay to ``norm_decay_mult`` and the like, and one
    that sets only ``decay_mult`` leaves the rate to ``bias_lr_mult``; what a key sets replaces the general rule. (In
    mmengine a key cancels all general rules.)

    Args:
        optim_wrapper_cfg: settings of the optimizer wrapper, with ``optimizer``.
        paramwise_cfg: as mmengine's.

    Raises:
        ValueError: an unknown setting; a multiplier without an ``lr`` or ``weight_decay`` of the optimizer; or (on use)
            a key of ``custom_keys`` that is in no parameter's name, ``dwconv_decay_mult`` without 2D depthwise
            convolutions.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        where, paramwise_cfg = "optim_wrapper.paramwise_cfg", dict(paramwise_cfg or {})
        if "layer_decay" in paramwise_cfg:
            raise ValueError(f"{where}.layer_decay needs optim_wrapper.constructor='LayerDecayConstructor'")
        check_keys(where, paramwise_cfg, _KNOWN)
        custom = paramwise_cfg.get("custom_keys", {})
        options = {"lr_mult": float, "decay_mult": float, **_options(optim_wrapper_cfg["optimizer"]["type"])}
        check_keys(f"{where}.custom_keys", custom, dict.fromkeys(custom, dict))
        for key, settings in custom.items():
            check_keys(f"{where}.custom_keys.{key}", settings, options)
        given = set(paramwise_cfg).union(*custom.values())
        for name, multipliers in {"lr": _RATES, "weight_decay": _DECAYS}.items():
            used = sorted(given.intersection(multipliers))
            if used and optim_wrapper_cfg["optimizer"].get(name) is None:
                raise ValueError(f"{where} has {used[0]}, a factor of optim_wrapper.optimizer.{name}, which is not set")
        super().__init__(optim_wrapper_cfg, paramwise_cfg)

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer of a model."""
        self._require_effect(getattr(model, "module", model))
        return super().__call__(model)

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = "", **kwargs) -> None:
        """Fill ``params`` with a group for each parameter of ``module``."""
        start = len(params)
        super().add_params(params, module, prefix, **kwargs)
        custom = self.paramwise_cfg.get("custom_keys")
        if prefix or not custom or set(self.paramwise_cfg) <= {"custom_keys", "bypass_duplicate"}:
            return
        general = self._without_custom_keys(module)
        names = {parameter: f".{name}" for name, parameter in module.named_parameters()}
        for group in params[start:]:
            (parameter,) = group["params"]
            keys = [key for key in custom if key in names[parameter]]
            if not keys:
                continue
            settings = custom[min(keys, key=lambda key: (-len(key), key))]  # the one that mmengine applies
            for name, factor in {"lr": "lr_mult", "weight_decay": "decay_mult"}.items():
                if not {name, factor}.intersection(settings) and name in general[parameter]:
                    group[name] = general[parameter][name]

    def _without_custom_keys(self, module: nn.Module) -> dict[nn.Parameter, dict[str, Any]]:
        """Return the group of each parameter by the general rules alone."""
        kept, groups = self.paramwise_cfg, []
        disabled = logging.root.manager.disable
        self.paramwise_cfg = {name: value for name, value in kept.items() if name != "custom_keys"}
        logging.disable(logging.CRITICAL)  # the log shall have the final groups only
        try:
            MMDefaultOptimWrapperConstructor.add_params(self, groups, module)
        finally:
            logging.disable(disabled)
            self.paramwise_cfg = kept
        return {group["params"][0]: group for group in groups}

    def _require_effect(self, model: nn.Module) -> None:
        names = [f".{name}" for name, _ in model.named_parameters()]
        parts = {part for name in names for part in name.split(".")}
        for key in self.paramwise_cfg.get("custom_keys", {}):
            if not any(key in name for name in names):
                hint = nearest(key, parts) or f"; its parts are {', '.join(dict(model.named_children()))}"
                raise ValueError(f"paramwise_cfg.custom_keys: '{key}' is in no parameter's name of the model{hint}")
        depthwise = any(isinstance(m, nn.Conv2d) and m.in_channels == m.groups for m in model.modules())
        if "dwconv_decay_mult" in self.paramwise_cfg and not depthwise:
            raise ValueError("paramwise_cfg.dwconv_decay_mult: the model has no 2D depthwise convolution; remove it")


def _options(optimizer: str | type) -> Mapping[str, Any]:
    """Return the settings of an optimizer that a group of parameters may set."""
    kind = OPTIMIZERS.get(optimizer) if isinstance(optimizer, str) else optimizer
    return parameters(kind)[0] if inspect.isclass(kind) else {}


def scale_learning_rates(optim_wrapper: OptimWrapper, auto_scale_lr: Mapping[str, Any], samples: int) -> None:
    """Scale the learning rates by the samples of an optimizer step over ``base_batch_size`` (Goyal et al. 2017, 2.1).

    Args:
        optim_wrapper: one or an ``OptimWrapperDict``; its gradient accumulation multiplies the samples.
        auto_scale_lr: with ``base_batch_size``, the samples per step for which the rates are given.
        samples: of a forward pass, over all processes.

    Raises:
        ValueError: ``auto_scale_lr`` has no ``base_batch_size``.
    """
    if "base_batch_size" not in auto_scale_lr:
        raise ValueError("auto_scale_lr has no base_batch_size, the samples of a step that the rate is meant for")
    base = auto_scale_lr["base_batch_size"]
    for wrapper in optim_wrapper.values() if isinstance(optim_wrapper, OptimWrapperDict) else [optim_wrapper]:
        step = samples * wrapper._accumulative_counts
        MMLogger.get_current_instance().info(
            f"A step has {step} samples, the rate is meant for {base}: scaled by {step / base:g}"
        )
        for group in wrapper.optimizer.param_groups:
            group["lr"] *= step / base
