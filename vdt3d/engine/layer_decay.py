"""LayerDecayConstructor: an optimizer whose learning rates shrink towards the input, part by part of a backbone."""

from torch import nn

from vdt3d.engine.optimizer_groups import DefaultOptimWrapperConstructor
from vdt3d.models.backbones.layer_order import layer_order, part_of
from vdt3d.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor(DefaultOptimWrapperConstructor):
    """Multiplies the rates of a backbone's last part by ``layer_decay``, of the one before by its square, and so on.

    Necks and heads, and what else lies behind the backbone's parts, keep the optimizer's rate. (mmpretrain's
    constructor of that kind asks a classifier for the depth of each parameter; this one serves every model whose
    backbone tells the order of its layers, and leaves mmengine's other options for groups in force.)

    Args:
        optim_wrapper_cfg: as mmengine's.
        paramwise_cfg: as mmengine's, with ``layer_decay``, above 0 and at most 1.

    Raises:
        ValueError: no such ``layer_decay``, or (on use) a backbone that does not tell the order of its layers.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        paramwise_cfg = dict(paramwise_cfg or {})
        self.decay = paramwise_cfg.pop("layer_decay", None)
        if isinstance(self.decay, bool | str) or self.decay is None or not 0 < self.decay <= 1:
            raise ValueError(f"paramwise_cfg.layer_decay={self.decay!r}, expected a factor above 0 and at most 1")
        if optim_wrapper_cfg["optimizer"].get("lr") is None:
            raise ValueError("paramwise_cfg.layer_decay is a factor of optim_wrapper.optimizer.lr, which is not set")
        super().__init__(optim_wrapper_cfg, paramwise_cfg | {"bypass_duplicate": True})  # never empty: groups are made

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = "", **kwargs) -> None:
        """Fill ``params`` with a group for each parameter of ``module``."""
        super().add_params(params, module, prefix, **kwargs)
        if prefix:  # a part, within the call for the whole
            return
        order = layer_order(module)
        names = {parameter: name for name, parameter in module.named_parameters()}
        for group in params:
            (parameter,) = group["params"]
            depth = len(order) - part_of(names[parameter], order)
            group["lr"] = group.get("lr", self.base_lr) * self.decay**depth
