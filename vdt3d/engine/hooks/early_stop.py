"""EarlyStopHook: a run ends where its validation score has not grown for a while."""

import math

from mmengine.hooks import Hook

from vdt3d.engine.hooks.checkpoint import sign_of
from vdt3d.engine.runner import Runner
from vdt3d.registry import HOOKS


@HOOKS.register_module()
class EarlyStopHook(Hook):
    """Stops the training after ``patience`` validations in a row without a better score; nan is not better.

    How long it has waited is part of a checkpoint, so a resumed run stops where the whole one would have. (mmengine's
    EarlyStoppingHook forgets it, and with ``min_delta=0`` takes an equal score for a better one.)

    Args:
        monitor: name of the validation score.
        patience: how many validations.
        min_delta: by how much a score must be better than the best so far.
        rule: as ``CheckpointHook``'s.

    Raises:
        ValueError: (on use) no validation score of that name.
        ValueError: ``patience`` is not positive.
    """

    priority = "LOW"  # before what saves the state

    def __init__(self, monitor: str, patience: int = 5, min_delta: float = 0.0, rule: str | None = None):
        if patience < 1:
            raise ValueError(f"patience={patience}: it takes 1 validation or more")
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.sign = sign_of(monitor, rule)

    def before_train(self, runner: Runner) -> None:
        self._stop_if_due(runner)  # it may have been resumed where it had stopped

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if not runner.training:
            return
        if self.monitor not in metrics:
            raise ValueError(f"monitor='{self.monitor}' is no validation score; there are {', '.join(metrics)}")
        score, state = self.sign * metrics[self.monitor], self._state(runner)
        if score > state["best"] + self.min_delta:
            state = {"best": score, "waited": 0}
        else:
            state = state | {"waited": state["waited"] + 1}
        runner.message_hub.update_info("early_stop", state)
        self._stop_if_due(runner)

    def _state(self, runner: Runner) -> dict[str, float]:
        return runner.message_hub.runtime_info.get("early_stop", {"best": -math.inf, "waited": 0})

    def _stop_if_due(self, runner: Runner) -> None:
        state = self._state(runner)
        if state["waited"] >= self.patience:
            runner.train_loop.stop_training = True
            best = self.sign * state["best"]
            runner.logger.info(f"{self.monitor} has not been better than {best:.4f} for {state['waited']} validations")
