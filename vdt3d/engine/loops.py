"""The training loops, which can begin in the middle of an epoch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.dist import broadcast, get_world_size
from mmengine.runner import EpochBasedTrainLoop as MMEpochBasedTrainLoop
from mmengine.runner import IterBasedTrainLoop as MMIterBasedTrainLoop
from mmengine.runner import ValLoop as MMValLoop
from mmengine.runner.base_loop import BaseLoop
from torch.utils.data import DataLoader

from vdt3d.evaluation import ValidationLoss
from vdt3d.registry import LOOPS


@LOOPS.register_module()
class EpochBasedTrainLoop(MMEpochBasedTrainLoop):
    """Trains by epochs; ``iter`` says how far it is, also within an epoch."""

    def run(self) -> torch.nn.Module:
        self.runner.require_savable()
        self.runner.restore_random_state()
        _validate_first(self, 0 if self._done_in_epoch() else self._epoch, self._max_epochs)
        return super().run()

    def run_epoch(self) -> None:
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        done = self._done_in_epoch()
        self.dataloader.sampler.start_at(done * self.dataloader.batch_size)
        for index, batch in enumerate(self.dataloader, start=done):
            self.run_iter(index, batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: object) -> None:
        with _norms_explained(self):
            super().run_iter(idx, data_batch)

    def resume_at(self, epoch: int, iteration: int, epoch_length: int) -> None:
        """Begin after so many epochs and iterations of a run whose epochs had ``epoch_length`` iterations."""
        length = len(self.dataloader)
        if length != epoch_length:  # other batches or processes: go on at the same part of the epoch
            iteration = epoch * length + (iteration - epoch * epoch_length) * length // epoch_length
        self._epoch, self._iter = epoch, iteration

    def _done_in_epoch(self) -> int:
        return self._iter - self._epoch * len(self.dataloader)


@LOOPS.register_module()
class IterBasedTrainLoop(MMIterBasedTrainLoop):
    """Trains by iterations, passing over the data again and again."""

    def run(self) -> torch.nn.Module:
        self.dataloader_iterator = _Endless(self.dataloader)
        self.runner.require_savable()
        self.runner.restore_random_state()
        _validate_first(self, self._iter, self._max_iters)
        try:
            return super().run()
        finally:
            self.dataloader_iterator = None  # it holds the workers

    def run_iter(self, data_batch: object) -> None:
        with _norms_explained(self):
            super().run_iter(data_batch)

    def resume_at(self, epoch: int, iteration: int, epoch_length: int) -> None:
        """Begin after so many iterations."""
        self._epoch, self._iter = epoch, iteration


@LOOPS.register_module()
class ValLoop(MMValLoop):
    """Validates what a checkpoint would hold: the running statistics of the first process, on every process.

    Models with an attribute ``report_losses`` compute their loss beside their predictions, and ``ValidationLoss`` is
    added to the metrics of the config.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.with_losses = hasattr(self.runner.bare_model, "report_losses")
        if self.with_losses:
            self.evaluator.metrics.append(ValidationLoss(collect_device="gpu"))

    def run(self) -> dict:
        model = self.runner.bare_model
        for buffer in model.buffers():
            broadcast(buffer)
        if not self.with_losses:
            return super().run()
        model.report_losses = True
        try:
            return super().run()
        finally:
            model.report_losses = False


@contextmanager
def _norms_explained(loop: BaseLoop) -> Iterator[None]:
    """Name the cause of torch's error about a norm that meets a single value.

    Raises:
        ValueError: a batch of one sample, whose feature maps have shrunk to one voxel.
    """
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        loader = loop.dataloader
        raise ValueError(
            f"train_dataloader: batch norm has no statistics in a batch of 1 sample ({len(loader.dataset)} samples on "
            f"{get_world_size()} processes in batches of {loader.batch_size}); use fewer processes, another "
            "batch_size, drop_last=True if it is the last batch, or group norm (norm_cfg)"
        ) from error


def _validate_first(loop: BaseLoop, done: int, last: int) -> None:
    """Make up for a validation the checkpoint knows nothing of: it was written before the one that followed."""
    loop._decide_current_val_interval()  # of ``dynamic_intervals``, which mmengine looks up after each step only
    due = done >= max(loop.val_begin, 1) and (done % loop.val_interval == 0 or done == last)
    if loop.runner.resumed_unvalidated and loop.runner.val_loop is not None and due:
        loop.runner.val_loop.run()


class _Endless:
    """Epoch after epoch of a loader, from any iteration on."""

    def __init__(self, dataloader: DataLoader):
        self.dataloader = dataloader
        self.skip_iter(0)

    def skip_iter(self, count: int) -> None:
        self._batches = batches_from(self.dataloader, count)

    def __next__(self) -> object:
        return next(self._batches)


def batches_from(dataloader: DataLoader, iteration: int) -> Iterator:
    """The batches of a training from an iteration on, epoch after epoch without end."""
    epoch, done = divmod(iteration, len(dataloader))
    while True:
        dataloader.sampler.set_epoch(epoch)
        dataloader.sampler.start_at(done * dataloader.batch_size)
        yield from dataloader
        epoch, done = epoch + 1, 0
