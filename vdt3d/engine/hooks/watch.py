"""WatchHook: what happens inside a network while it learns, looked at now and then, among the run's scalars."""

from collections import defaultdict
from functools import partial
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.optim import Optimizer

from vdt3d.engine.runner import Runner
from vdt3d.registry import HOOKS

FED = (_ConvNd, nn.Linear)  # whose inputs are the outputs of units
WATCHED = (*FED, _NormBase, nn.GroupNorm, nn.LayerNorm)


@HOOKS.register_module()
class WatchHook(Hook):
    """Of every convolution, linear layer and norm, in one of ``interval`` iterations, into the visualizer's backends:

    * ``watch/mean/LAYER``, ``watch/variance/LAYER``: of what it gives. Variances that shrink or explode from layer to
      layer tell of a bad start or a missing norm.
    * ``watch/dead/LAYER``: share of the channels it is fed that are 0 in the whole batch: units that never fire.
    * ``watch/gradient/LAYER``, ``watch/gradient_norm``: the norm of its weight's gradient and that of all gradients, as
      the optimizer gets them, behind any clipping.
    * ``watch/update/LAYER``: the norm of what the step changed over that of the weight; near 0.001 is usual, 0.1 tears
      the network apart, 0.00001 leaves it as it is (Karpathy, CS231n).

    With ``accumulative_counts`` the last two come with the next step. Layers within a compiled backbone are not seen.
    The run itself is the same with and without it.

    Args:
        interval: iterations from one look to the next.

    Raises:
        ValueError: ``interval`` is not positive.
    """

    priority = "ABOVE_NORMAL"

    def __init__(self, interval: int = 50):
        if interval < 1:
            raise ValueError(f"interval={interval}: a look takes 1 iteration or more")
        self.interval = interval
        self._layers, self._steps = [], []  # handles of hooks
        self._seen: dict[str, list[Tensor]] = defaultdict(list)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        if not is_main_process() or (runner.iter + 1) % self.interval:
            return
        for name, module in runner.bare_model.named_modules():
            if isinstance(module, WATCHED):
                self._layers.append(module.register_forward_hook(partial(self._see, name)))
        if not self._steps:
            self._weights = {
                name.removesuffix(".weight"): parameter
                for name, parameter in runner.bare_model.named_parameters()
                if name.endswith(".weight") and parameter.ndim > 1
            }
            optimizer = runner.optim_wrapper.optimizer
            self._steps = [
                optimizer.register_step_pre_hook(self._before_step),
                optimizer.register_step_post_hook(self._after_step),
            ]

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        _remove(self._layers)
        if self._seen:
            names = list(self._seen)
            values = torch.stack([torch.stack(self._seen[name]).mean() for name in names]).tolist()  # one wait
            runner.visualizer.add_scalars(dict(zip(names, values, strict=True)), step=runner.iter + 1)
            self._seen.clear()

    @torch.no_grad()
    def _see(self, name: str, module: nn.Module, args: tuple, output: Any) -> None:
        if not isinstance(output, Tensor) or output.numel() < 2:
            return
        variance, mean = torch.var_mean(output.float())
        self._seen[f"watch/mean/{name}"].append(mean)
        self._seen[f"watch/variance/{name}"].append(variance)
        if isinstance(module, FED) and args:
            units = args[0].movedim(-1 if isinstance(module, nn.Linear) else 1, 0).flatten(1)
            self._seen[f"watch/dead/{name}"].append((units == 0).all(dim=1).float().mean())

    @torch.no_grad()
    def _before_step(self, optimizer: Optimizer, *_) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        self._seen["watch/gradient_norm"].append(nn.utils.get_total_norm(gradients))
        self._before = {}
        for name, weight in self._weights.items():
            if weight.grad is not None:
                self._seen[f"watch/gradient/{name}"].append(torch.linalg.vector_norm(weight.grad.float()))
                self._before[name] = weight.detach().clone()

    @torch.no_grad()
    def _after_step(self, optimizer: Optimizer, *_) -> None:
        _remove(self._steps)
        for name, before in self._before.items():
            change, size = (torch.linalg.vector_norm(each.float()) for each in (self._weights[name] - before, before))
            self._seen[f"watch/update/{name}"].append(change / size.clamp_min(torch.finfo(size.dtype).tiny))
        self._before = {}


def _remove(handles: list) -> None:
    while handles:
        handles.pop().remove()
