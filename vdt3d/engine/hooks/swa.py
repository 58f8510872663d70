"""SWAHook: the average of the weights of a run's last part, with statistics of batch norms that belong to it."""

from itertools import chain, islice

import torch
from mmengine.dist import broadcast
from mmengine.hooks import EMAHook
from torch.nn.modules.batchnorm import _BatchNorm

from vdt3d.engine.data import build_dataloader
from vdt3d.engine.runner import Runner
from vdt3d.registry import HOOKS
from vdt3d.utils.random import rng_state, set_rng_state


@HOOKS.register_module()
class SWAHook(EMAHook):
    """Stochastic weight averaging (Izmailov et al., UAI 2018): validated, tested and saved is the average.

    Running statistics are those of the weights that moved, not of their average. So before a validation, and at the end
    of every epoch, the batch norms pass over training batches with the average; a checkpoint written between
    validations of a run by iterations has the statistics of the moving weights.

    Args:
        begin_epoch, begin_iter: which epoch or iteration, counted from 1, is the first of the average.
        interval: iterations from one set of weights in it to the next.
        batches: how many the statistics are taken from, in training mode, at the order of the first epoch.
    """

    def __init__(self, begin_epoch: int = 0, begin_iter: int = 0, interval: int = 1, batches: int = 50):
        super().__init__("StochasticWeightAverage", begin_iter=begin_iter, begin_epoch=begin_epoch, interval=interval)
        self.batches, self._loader = batches, None

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        done, loop = runner.iter + 1, runner.train_loop
        every = loop.val_interval if runner.by_iterations else len(loop.dataloader)
        if self._ema_started(runner) and (done % every == 0 or done == runner.max_iters):
            self._renew_statistics(runner)

    def _renew_statistics(self, runner: Runner) -> None:
        norms = [m for m in runner.bare_model.modules() if isinstance(m, _BatchNorm) and m.training]
        norms = [norm for norm in norms if norm.track_running_stats]
        if not norms:
            return
        self._swap_ema_parameters()
        momenta, state = [norm.momentum for norm in norms], rng_state()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # every batch counts alike
        # What dropout draws here is not to be missing from the steps to come.
        device = next(runner.model.parameters()).device
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            for batch in islice(self._batches(runner), self.batches):
                with runner.optim_wrapper.optim_context(runner.model):
                    data = runner.bare_model.data_preprocessor(batch, True)
                    runner.bare_model(**data, mode="loss")
        set_rng_state(state)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        self._swap_ema_parameters()
        for buffer in self.ema_model.module.buffers():
            broadcast(buffer)

    def _batches(self, runner: Runner) -> torch.utils.data.DataLoader:
        if self._loader is None:  # the run's own is in the middle of an epoch
            settings = runner.cfg.train_dataloader | {
                "dataset": runner.train_dataloader.dataset.dataset,
                "persistent_workers": False,
            }
            self._loader = build_dataloader(**settings, seed=runner.seed)
        return self._loader

    def _swap_ema_parameters(self) -> None:
        """Exchange weights and statistics; EMAHook leaves the statistics where they are."""
        average, model = self.ema_model.module, self.src_model
        ours, theirs = (chain(part.parameters(), part.buffers()) for part in (average, model))
        for one, other in zip(ours, theirs, strict=True):
            kept = one.data.clone()
            one.data.copy_(other.data)
            other.data.copy_(kept)
