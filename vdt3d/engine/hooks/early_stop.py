"""EarlyStopHook: a run ends where its validation score has not grown for a while."""

import math
from typing import Any

from mmengine.hooks import Hook

from vdt3d.engine.hooks.checkpoint import ScoreWatch, why_nan
from vdt3d.engine.runner import Runner
from vdt3d.registry import HOOKS


@HOOKS.register_module()
class EarlyStopHook(Hook):
    """Stops the training after ``patience`` validations in a row without a better score; nan is not better.

    How long it has waited is stored in checkpoints under the name of the score, so a resumed run stops where the whole
    one would have. (mmengine's EarlyStoppingHook forgets it, and with ``min_delta=0`` takes an equal score for a better
    one.)

    Args:
        monitor: name of the validation score.
        patience: how many validations.
        min_delta: by how much a score must be better than the best so far.
        rule: as ``CheckpointHook``'s.

    Raises:
        ValueError: ``patience`` is not positive, or ``rule`` is unknown; (on use) no validation score of that name, or
            no metric declares its direction.
    """

    priority = "LOW"  # before what saves the state

    def __init__(self, monitor: str, patience: int = 5, min_delta: float = 0.0, rule: str | None = None):
        if patience < 1:
            raise ValueError(f"patience={patience}: it takes 1 validation or more")
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.watch = ScoreWatch(monitor, rule, "monitor")

    def before_run(self, runner: Runner) -> None:
        """Find the direction of the score before the first step."""
        if runner.training and runner.val_loop is not None:
            self.watch.sign(runner)

    def before_train(self, runner: Runner) -> None:
        self._stop_if_due(runner)  # it may have been resumed where it had stopped

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if not runner.training:
            return
        score, sign, state = self.watch.value(metrics), self.watch.sign(runner), self._state(runner)
        best = -math.inf if state["best"] is None else sign * state["best"]
        if sign * score > best + self.min_delta:
            state = {"best": score, "waited": 0}
        else:
            state = {**state, "waited": state["waited"] + 1}
        states = runner.message_hub.runtime_info.get("early_stop", {})
        runner.message_hub.update_info("early_stop", {**states, self.monitor: state})
        self._stop_if_due(runner)

    def _state(self, runner: Runner) -> dict[str, Any]:
        """Return the best score so far (None: none yet) and how many validations have passed since."""
        states = runner.message_hub.runtime_info.get("early_stop", {})
        return states.get(self.monitor, {"best": None, "waited": 0})

    def _stop_if_due(self, runner: Runner) -> None:
        state = self._state(runner)
        if state["waited"] < self.patience:
            return
        runner.train_loop.stop_training = True
        waited = state["waited"]
        if state["best"] is not None:
            runner.logger.info(f"{self.monitor} has not been better than {state['best']:.4f} for {waited} validations")
            return
        absent = why_nan(runner.val_loop.evaluator)
        reason = f": the validation has {absent}" if absent else ""
        runner.logger.warning(f"The run stops: {self.monitor} was nan at all {waited} validations{reason}")
