"""A schedule of our own, and what becomes of any when a run is resumed, perhaps with another length than before."""

import warnings

from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler

from vdt3d.models.weights.files import CheckpointError, plain
from vdt3d.registry import PARAM_SCHEDULERS

# What moves while a schedule is followed; everything else is its shape.
_MOVING = {"last_step", "_global_step", "_last_value", "num_bad_epochs", "cooldown_counter", "best"}


@PARAM_SCHEDULERS.register_module()
class LinearWarmupLR(LRSchedulerMixin, _ParamScheduler):
    """The learning rate from 0 in a straight line to the optimiser's, and in another to 0: as transformers are tuned.

    Args:
        optimizer: a wrapped one too.
        warmup: steps, or epochs, of the first line.
        end: of the second one; a runner fills in the length of the run.
        **kwargs: ``by_epoch`` and others of mmengine's schedulers.

    Raises:
        ValueError: the run is no longer than the warm-up.
    """

    def __init__(self, optimizer, *args, warmup: int, end: int, **kwargs):
        if not 0 < warmup < end:
            raise ValueError(f"a warm-up of {warmup} does not end within a run of {end}")
        self.warmup, self.total = warmup, end
        super().__init__(optimizer, *args, end=end + 1, **kwargs)

    def _get_value(self) -> list[float]:
        rising, falling = self.last_step / self.warmup, (self.total - self.last_step) / (self.total - self.warmup)
        return [value * min(rising, falling) for value in self.base_values]


def count_as_run(
    schedulers: _ParamScheduler | dict | list[_ParamScheduler | dict], by_iterations: bool
) -> list[_ParamScheduler | dict]:
    """Return the schedules with ``by_epoch=False`` where a run by iterations has one that does not set it.

    Epochs do not pass in a run by iterations: a schedule that counts them would never move, or end with the first pass
    over the data. A schedule that follows a score moves at each validation.

    Raises:
        ValueError: a schedule by epochs in a run by iterations.
    """
    schedulers = schedulers if isinstance(schedulers, list | tuple) else [schedulers]
    if not by_iterations:
        return list(schedulers)
    counted = []
    for scheduler in schedulers:
        if not isinstance(scheduler, dict):
            moves, by_epoch, name = hasattr(scheduler, "monitor"), scheduler.by_epoch, type(scheduler).__name__
        else:
            name = scheduler["type"]
            moves = getattr(PARAM_SCHEDULERS.get(name) if isinstance(name, str) else name, "need_val_args", False)
            scheduler = scheduler if moves else {"by_epoch": False, **scheduler}
            by_epoch = scheduler.get("by_epoch") or scheduler.get("convert_to_iter_based")
        if by_epoch and not moves:
            raise ValueError(
                f"param_scheduler: {name} counts epochs (by_epoch, convert_to_iter_based), and the run counts "
                "iterations; set by_epoch=False and give its lengths in iterations"
            )
        counted.append(scheduler)
    return counted


def state_of(scheduler: _ParamScheduler) -> dict:
    """What a checkpoint keeps of a scheduler: all but its functions, which come back with its settings."""
    return {key: plain(value) for key, value in scheduler.state_dict().items() if not callable(value)}


def same_schedule(schedulers: list[_ParamScheduler], saved: list[dict]) -> bool:
    """Whether the config's schedulers have the shape of the checkpoint's, counters and present values aside.

    Raises:
        CheckpointError: there are more or fewer of them.
    """
    if len(schedulers) != len(saved):
        raise CheckpointError(f"the checkpoint's run had {len(saved)} schedulers, the config has {len(schedulers)}")
    pairs = zip(schedulers, saved, strict=True)
    return all(_shape(state_of(scheduler)) == _shape(state) for scheduler, state in pairs)


def _shape(state: dict) -> dict:
    return {key: value for key, value in state.items() if key not in _MOVING}


def follow(
    schedulers: list[_ParamScheduler], optimizer: OptimWrapper, epochs: int, iterations: int, epoch_length: int
) -> list[dict[str, float]]:
    """Step freshly built schedulers on a freshly built optimizer to where a run stands.

    Args:
        schedulers: none, where nothing changes in the course of the run.
        optimizer: theirs.
        epochs, iterations: how many are done.
        epoch_length: iterations of an epoch.

    Returns:
        Per parameter group, the values a run that had this schedule from its beginning would have now.

    Raises:
        CheckpointError: a scheduler follows a score, and the scores of the past are not at hand.
    """
    if any(hasattr(scheduler, "monitor") for scheduler in schedulers):
        raise CheckpointError("a schedule that follows a score cannot be changed on resuming; keep its settings")
    # Schedulers of one parameter act on each other's results, so they step in the order of a run.
    steps = [(n, False, s) for s in schedulers if not s.by_epoch for n in range(iterations)]
    steps += [((n + 1) * epoch_length - 1, True, s) for s in schedulers if s.by_epoch for n in range(epochs)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected call of `scheduler.step")
        for _, _, scheduler in sorted(steps, key=lambda step: step[:2]):
            scheduler.step()
    names = {scheduler.param_name for scheduler in schedulers}
    return [{name: group[name] for name in names} for group in optimizer.param_groups]
