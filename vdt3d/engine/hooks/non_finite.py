"""NonFiniteHook: a loss or weights that are nan or infinite stop the run, and it is told where that began."""

import math
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from torch import Tensor, nn

from vdt3d.engine.runner import Runner
from vdt3d.registry import HOOKS
from vdt3d.utils.files import write_aside


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Looks at the loss of every step before it is learnt from, and at the weights before they are saved.

    Where one is not finite, the run stops with an error that names the cases and the first layer it concerns: where the
    inputs and the weights are finite, the batch goes through the network again, layer by layer. The batch is kept as
    ``non_finite_batch.pth`` in the work directory: ``inputs`` as the network got them, ``cases``, their ``targets``,
    ``losses``, ``iter``; plain tensors and names, which ``torch.load(..., weights_only=True)`` reads.

    Raises:
        FloatingPointError: (on use) as said.
    """

    priority = "VERY_HIGH"

    def __init__(self):
        self._batch, self._handle = None, None  # what the last step learnt from

    def before_train(self, runner: Runner) -> None:
        check = partial(self._check, runner)
        self._handle = runner.bare_model.register_forward_hook(check, with_kwargs=True)

    def after_train(self, runner: Runner) -> None:
        self._handle.remove()
        self._batch = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if self._batch is not None and (layer := _bad_weights(runner.bare_model)):
            _stop(runner, f"the weights of {layer} are not finite since the last step", self._batch, {})

    def _check(self, runner: Runner, model: nn.Module, args: tuple, batch: dict, losses: Any) -> None:
        if not model.training or not isinstance(losses, Mapping):
            return
        total = sum(part.detach().float().sum() for loss in losses.values() for part in _tensors(loss))
        if math.isfinite(float(total)):
            self._batch = batch
            return
        names = _cases(batch)
        bad = [name for name, volume in zip(names, batch["inputs"], strict=True) if not volume.isfinite().all()]
        if bad:
            _stop(runner, f"what the network is fed is not finite in {', '.join(bad)}", batch, losses)
        if layer := _bad_weights(model):
            culprit, when = (self._batch, "since the last step") if self._batch else (batch, "from the beginning")
            _stop(runner, f"the weights of {layer} are not finite {when}", culprit, losses)
        _stop(runner, f"it begins in {_first_layer(model, batch)}, whose inputs and weights are", batch, losses)


def _stop(runner: Runner, what: str, batch: dict, losses: Mapping[str, Any]) -> None:
    path = Path(runner.work_dir) / f"non_finite_batch{get_rank() or ''}.pth"  # each process has batches of its own
    samples = batch.get("data_samples") or []
    content = {
        "iter": runner.iter,
        "inputs": batch["inputs"].detach().cpu(),
        "cases": _cases(batch),
        "targets": [{k: v.detach().cpu() for k, v in sample.items() if isinstance(v, Tensor)} for sample in samples],
        "losses": {name: float(sum(part.detach().sum() for part in _tensors(loss))) for name, loss in losses.items()},
    }
    write_aside(path, partial(torch.save, content))
    told = ", ".join(f"{name} {value:g}" for name, value in content["losses"].items()) or "weights"
    raise FloatingPointError(
        f"iteration {runner.iter + 1} is not finite ({told}): {what}. The cases of the batch: "
        f"{', '.join(content['cases'])}; it is kept as {path}. What helps: a lower learning rate or a warm-up, "
        "optim_wrapper.clip_grad, single precision in place of half, and a look at the scans (vdt3d inspect)"
    )


def _first_layer(model: nn.Module, batch: dict) -> str:
    """Name and class of the first module that makes what is not finite from what is; else the loss itself."""
    found = []

    def look(name: str, module: nn.Module, args: tuple, output: Any) -> None:
        if not found and not all(part.isfinite().all() for part in _tensors(output)):
            found.append(f"{name} ({type(module).__name__})")

    handles = [module.register_forward_hook(partial(look, name)) for name, module in model.named_modules() if name]
    for module in model.modules():
        if isinstance(module, nn.SyncBatchNorm):  # in training it would wait for the other processes
            module.eval()
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        model.forward(**batch)  # not as a call, which would come here again
    for handle in handles:
        handle.remove()
    return found[0] if found else "the loss"


def _bad_weights(model: nn.Module) -> str | None:
    """Name and class of the first module with a weight that is not finite."""
    owned = [(name, p) for name, module in model.named_modules() for p in module.parameters(recurse=False)]
    finite = torch.stack([p.detach().isfinite().all() for _, p in owned]).tolist()  # one wait
    return next((_named(model, name) for (name, _), good in zip(owned, finite, strict=True) if not good), None)


def _named(model: nn.Module, name: str) -> str:
    return f"{name} ({type(model.get_submodule(name)).__name__})"


def _tensors(value: Any) -> Iterable[Tensor]:
    """Those in tuples, lists and dicts, floating-point ones alone."""
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _cases(batch: dict) -> list[str]:
    samples = batch.get("data_samples") or [{}] * len(batch["inputs"])
    return [
        str(sample.get("sample_name") or sample.get("img_path") or f"number {n}") for n, sample in enumerate(samples)
    ]
