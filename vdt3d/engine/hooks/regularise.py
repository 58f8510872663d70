"""InsertHook and PenaltyHook: dropout and noise within any model, and L1 and L2 penalties on any part of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.hooks import Hook
from torch import Tensor, nn

from vdt3d.engine.runner import Runner
from vdt3d.models.layers.insertion import fitting, insert_layers, matching, tensors_through
from vdt3d.registry import HOOKS


@HOOKS.register_module()
class InsertHook(Hook):
    """Puts layers without weights, such as dropout and noise, before or after modules of the model.

    They act in training alone, and checkpoints are the same with and without them.

    Args:
        layers: as ``insert_layers``'s: ``[dict(after='neck', type='Dropout', drop_prob=0.5), dict(before='backbone',
            type='GaussianNoise', std=0.1)]``.

    Raises:
        ValueError: (on use) as ``insert_layers``.
    """

    def __init__(self, layers: Sequence[Mapping[str, Any]]):
        self.layers = layers

    def before_run(self, runner: Runner) -> None:
        model = runner.bare_model
        if not hasattr(model, "inserted"):  # a runner may validate or test after it has trained
            insert_layers(model, self.layers)


@HOOKS.register_module()
class PenaltyHook(Hook):
    """Adds a penalty to the loss, ``loss_l1_weights``, ``loss_l2_activations`` and the like: absolutes or squares.

    Of weights it is their sum, over those of two axes or more (not norms and biases) that learn. This is the penalty of
    the textbook, whose gradient an adaptive optimizer rescales; weight decay is the optimizer's own. Of activations
    it is the mean over the batch and all elements of each output, summed over the outputs.

    Args:
        norm: 1 for absolutes, 2 for squares.
        scale: what the penalty is multiplied by.
        weights: which parameters, by name; * and ? stand for any letters.
        activations: the outputs of which modules, by name, instead.

    Raises:
        ValueError: another norm, not one of ``weights`` and ``activations``. (On use) nothing of that name, or modules
            that were not run one by one, as within a compiled backbone.
    """

    def __init__(self, norm: int, scale: float, *, weights: str | None = None, activations: str | None = None):
        if norm not in (1, 2):
            raise ValueError(f"norm={norm}: there are the penalties 1 (absolutes) and 2 (squares)")
        if (weights is None) == (activations is None):
            raise ValueError("say the names either of weights or of the modules whose activations are penalised")
        self.norm, self.scale, self.weights, self.activations = norm, scale, weights, activations
        self._seen: list[Tensor] = []
        self._handles = []

    def before_train(self, runner: Runner) -> None:
        model = runner.bare_model
        if self.weights is None:
            modules = matching(model, self.activations).values()
            self._handles = [module.register_forward_hook(self._see) for module in modules]
        else:
            parameters = {name: p for name, p in model.named_parameters() if p.ndim > 1}
            names = fitting(parameters, self.weights, "weight")
            self._parameters = [parameters[name] for name in names]
        self._handles.append(model.register_forward_hook(self._add))

    def after_train(self, runner: Runner) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _see(self, module: nn.Module, args: tuple, output: Any) -> None:
        tensors_through(output, self._remember, self.activations)

    def _remember(self, output: Tensor) -> Tensor:
        self._seen.append(output.float().pow(self.norm).abs().mean())
        return output

    def _add(self, model: nn.Module, args: tuple, losses: Any) -> Any:
        terms, self._seen = self._seen, []
        if not model.training or not isinstance(losses, dict):  # a validation
            return losses
        if self.weights is not None:
            terms = [p.float().pow(self.norm).abs().sum() for p in self._parameters if p.requires_grad]
        elif not terms:
            raise ValueError(f"'{self.activations}' gave nothing to penalise: leave compile out of the config")
        key = f"loss_l{self.norm}_{'activations' if self.weights is None else 'weights'}"
        total = self.scale * torch.stack(terms).sum() if terms else 0
        return losses | {key: losses.get(key, 0) + total}
