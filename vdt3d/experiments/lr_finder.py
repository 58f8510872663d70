"""Learning-rate finder: a ramp of rates over a few steps (Smith 2017), after which everything is as it was before."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from vdt3d.engine.loops import IterBasedTrainLoop, batches_from
from vdt3d.engine.runner import Runner
from vdt3d.utils.files import write_json
from vdt3d.utils.random import rng_state, set_rng_state
from vdt3d.visualization.grid import save
from vdt3d.visualization.tuning import rate_figure

KEPT = 0.9  # share of the past in the smoothed loss
FALLEN = 0.05  # of the first loss: less is noise
DIVERGED = 4.0  # times the lowest smoothed loss


@dataclass(frozen=True)
class RateCurve:
    """Losses along a ramp of learning rates, of as many steps as there were before it diverged.

    Fields:
        rates, losses: of each step; the loss is that of the batch before the step. The last one may be nan or inf.
        smoothed: mean of the losses so far, each counting ``KEPT`` of the next one.
        diverged: whether the ramp ended early, the smoothed loss being ``DIVERGED`` times its lowest, or no number.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    diverged: bool

    @property
    def edge(self) -> float | None:
        """The rate at which the loss began its last rise, up to where it diverged; None where it did not diverge."""
        if not self.diverged:
            return None
        place = len(self.losses) - 1
        while place and not self.losses[place - 1] >= self.losses[place]:  # what is no number is higher than any
            place -= 1
        return self.rates[place]

    @property
    def suggestion(self) -> float | None:
        """Half of ``edge``: gradient descent on a x^2 / 2 diverges from a rate of 2 / a on, and is fastest at 1 / a.

        A bounded loss of a network with norms may never diverge: then it is ``steepest``; None where it did not fall.
        """
        return self.steepest if self.edge is None else self.edge / 2

    @property
    def steepest(self) -> float | None:
        """Where the smoothed loss falls fastest along the logarithm of the rate, the cautious choice; None where it
        falls by less than ``FALLEN``.

        On a fast ramp this is well below the best rate, as the loss has fallen before it is reached.
        """
        lowest = int(np.argmin([loss if math.isfinite(loss) else math.inf for loss in self.smoothed]))
        if not self.smoothed[lowest] < (1 - FALLEN) * self.smoothed[0]:
            return None
        return self.rates[int(np.diff(self.smoothed[: lowest + 1]).argmin())]

    def report(self) -> dict[str, Any]:
        """All of it, for a json file."""
        return {"suggestion": self.suggestion, "edge": self.edge, "steepest": self.steepest, **asdict(self)}


def ramp(
    step: Callable[[], float],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    low: float = 1e-7,
    high: float = 10.0,
    steps: int = 100,
) -> RateCurve:
    """Take training steps at rates that grow from ``low`` to ``high`` by the same factor each time.

    Every parameter group keeps the ratio of its rate to the optimiser's own. Afterwards the model (whether it trains
    included), the optimiser and the global random generators are as they were.

    Args:
        step: takes one step with ``optimizer`` and returns the loss before it.
        optimizer: a wrapped one too.

    Raises:
        ValueError: the rates are not in order, or there are fewer than ten steps.
    """
    if not 0 < low < high or steps < 10:
        raise ValueError(f"a ramp takes 0 < low < high and ten steps or more, got {low}, {high} and {steps} steps")
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    modes, chance = [module.training for module in model.modules()], rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    own = getattr(optimizer, "optimizer", optimizer).defaults["lr"]
    shares = [group["lr"] / own for group in optimizer.param_groups]
    rates, losses, smoothed, mean, diverged = [], [], [], 0.0, False
    try:
        model.train()
        for rate in np.geomspace(low, high, steps).tolist():
            for group, share in zip(optimizer.param_groups, shares, strict=True):
                group["lr"] = rate * share
            losses.append(step())
            rates.append(rate)
            mean = KEPT * mean + (1 - KEPT) * losses[-1]
            smoothed.append(mean / (1 - KEPT ** len(losses)))
            diverged = not smoothed[-1] <= DIVERGED * min(smoothed)
            if diverged:
                break
    finally:
        model.load_state_dict(before[0])
        optimizer.load_state_dict(before[1])
        optimizer.zero_grad()
        for module, training in zip(model.modules(), modes, strict=True):
            module.training = training
        set_rng_state(chance)
        torch.cuda.set_rng_state_all(cuda)
    return RateCurve(tuple(rates), tuple(losses), tuple(smoothed), diverged)


class RampLoop(IterBasedTrainLoop):
    """``ramp`` in the place of a training; ``curve`` is what came of it.

    Args:
        steps, low, high: as ``ramp``'s.
    """

    def __init__(self, runner: Runner, dataloader: Any, *, steps: int, low: float, high: float):
        super().__init__(runner, dataloader, max_iters=steps)
        self.range = dict(steps=steps, low=low, high=high)

    def run(self) -> nn.Module:
        self.runner.call_hook("before_train")
        model, optimizer = self.runner.model, self.runner.optim_wrapper
        parts = optimizer._accumulative_counts  # batches of a step
        optimizer.initialize_count_status(model, 0, parts * self.range["steps"])
        batches = batches_from(self.dataloader, 0)

        def step() -> float:
            losses = [model.train_step(next(batches), optim_wrapper=optimizer)["loss"].item() for _ in range(parts)]
            return sum(losses) / parts

        self.curve = ramp(step, model, optimizer, **self.range)
        return model


def find_rate(config: Config, *, steps: int = 100, low: float = 1e-7, high: float = 10.0) -> RateCurve:
    """The ramp of a config's model, optimiser and training data, from the weights it starts with, on one device.

    Schedules and what hooks of the runner write are left out; hooks of the config (``custom_hooks``) are there.

    Args:
        config: with a ``work_dir``, where lr_find.json and lr_find.png go.

    Raises:
        ValueError: as ``ramp``; or the config does not train by one optimiser.
    """
    config = copy.deepcopy(config)
    if "optimizer" not in config.get("optim_wrapper", {}):
        raise ValueError("the config has no optim_wrapper with one optimizer, whose rate could be found")
    out = Path(config.work_dir)
    config.work_dir = str(out / "lr_find")
    config.default_hooks = no_default_hooks(config)
    config.param_scheduler = config.val_dataloader = config.val_cfg = config.val_evaluator = None
    config.resume, config.auto_scale_lr = False, None
    config.train_cfg = dict(type=f"{__name__}.RampLoop", steps=steps, low=low, high=high)
    runner = Runner.from_cfg(config)
    runner.train()
    curve = runner.train_loop.curve
    write_json(out / "lr_find.json", curve.report())
    marks = {"suggestion": curve.suggestion, "steepest descent": curve.steepest}
    save(rate_figure(curve.rates, curve.losses, curve.smoothed, marks), out / "lr_find.png")
    return curve


def no_default_hooks(config: Config, *, kept: Sequence[str] = ()) -> dict[str, Any]:
    """``default_hooks`` without any but the ``kept`` ones, for a run that shall leave nothing behind."""
    mmengines = ("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint")
    hooks = config.get("default_hooks", {})
    none = dict.fromkeys(name for name in mmengines if name not in kept)
    return none | {name: hooks[name] for name in kept if name in hooks}
