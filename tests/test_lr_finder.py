"""The learning-rate finder: the rate of quadratics whose best one is known, and a model that is left as it was."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from torch import nn

from vdt3d.cli import main
from vdt3d.experiments.lr_finder import RateCurve, find_rate, ramp
from vdt3d.utils.random import rng_state


def quadratic(curvatures: list[float], noise: float, **optimizer) -> RateCurve:
    """A ramp of gradient descent on the sum of a (x - c)^2 / 2, where c is 0 up to noise that each step draws."""
    rng, scale = np.random.default_rng(0), torch.tensor(curvatures)
    model = nn.Module()
    model.x = nn.Parameter(torch.tensor(rng.normal(size=len(curvatures)), dtype=torch.float32))
    descent = torch.optim.SGD(model.parameters(), lr=1.0, **optimizer)

    def step() -> float:
        target = torch.tensor(noise * rng.normal(size=len(curvatures)), dtype=torch.float32)
        loss = (scale * (model.x - target) ** 2).sum() / 2
        descent.zero_grad()
        loss.backward()
        descent.step()
        return loss.item()

    return ramp(step, model, descent)


@pytest.mark.parametrize("scale", [3.0, 30.0, 300.0, 3000.0])
@pytest.mark.parametrize(("shape", "noise"), [([1.0] * 10, 0.0), ([1.0] * 10, 0.1), (np.geomspace(0.1, 1, 10), 0.1)])
def test_the_best_rate_of_a_quadratic_within_a_factor_of_three(shape, noise: float, scale: float):
    curvatures = [scale * float(a) for a in shape]
    best = 2 / (min(curvatures) + max(curvatures))  # of gradient descent at one rate (Nesterov 2004, 2.1.5)
    assert best / 3 < quadratic(curvatures, noise).suggestion < best * 3


def test_the_edge_is_where_the_last_rise_begins():
    rates = tuple(float(n) for n in range(1, 8))
    curve = RateCurve(rates, (5.0, 6.0, 4.0, 2.0, 3.0, 5.0, 9.0), (5.0,) * 7, diverged=True)
    assert curve.edge == 4.0 and curve.suggestion == 2.0
    assert RateCurve(rates, (5.0, 6.0, 4.0, 2.0, 3.0, 5.0, math.nan), (5.0,) * 7, diverged=True).edge == 4.0
    assert RateCurve(rates, (5.0,) * 7, (5.0,) * 7, diverged=False).suggestion is None
    bounded = RateCurve(rates, (5.0,) * 7, (5.0, 4.9, 3.0, 2.0, 2.0, 2.5, 3.0), diverged=False)
    assert bounded.suggestion == bounded.steepest == rates[1]  # from the second to the third it falls by 1.9
    assert RateCurve(rates, (5.0,) * 7, (5.0, 4.9, 4.8, 4.9, 5.0, 5.1, 5.0), diverged=False).suggestion is None


def test_the_steepest_descent_is_before_the_lowest_loss():
    # Falls by 1, 3 and 1; what comes after the lowest value does not count.
    curve = RateCurve((1.0, 2.0, 3.0, 4.0, 5.0, 6.0), (0.0,) * 6, (8.0, 7.0, 4.0, 3.0, 20.0, 9.0), diverged=True)
    assert curve.steepest == 2.0
    assert RateCurve((1.0, 2.0), (1.0, 1.0), (1.0, 1.0), diverged=False).steepest is None


def test_the_smoothed_loss_is_free_of_its_start():
    losses = iter([4.0, 2.0] + [2.0] * 8)
    model = nn.Linear(1, 1)
    curve = ramp(lambda: next(losses), model, torch.optim.SGD(model.parameters(), lr=1.0), steps=10)
    assert curve.smoothed[0] == pytest.approx(4)
    assert curve.smoothed[1] == pytest.approx((0.9 * 4 + 2) / 1.9)  # 0.9 and 1 are their weights
    assert curve.rates[0] == pytest.approx(1e-7) and curve.rates[-1] == pytest.approx(10) and not curve.diverged


@pytest.mark.parametrize("last", [17.0, math.nan, math.inf])
def test_it_stops_where_the_loss_diverges(last: float):
    losses = iter([1.0] * 20 + [last, 40.0, 80.0])
    model = nn.Linear(1, 1)
    curve = ramp(lambda: next(losses), model, torch.optim.SGD(model.parameters(), lr=1.0))
    # Of 21 and 22 losses the last counts 0.1 / (1 - 0.9^21) = 0.112 and 0.111, the one before 0.0998: the mean is
    # 1 + 16 x 0.112 = 2.8 with the 17 and 1 + 16 x 0.0998 + 39 x 0.111 = 6.9 with the 40, more than four times 1.
    assert curve.diverged and len(curve.losses) == (22 if last == 17 else 21)


def test_everything_is_as_it_was_and_groups_keep_their_ratio():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1)).train()
    model[1].eval()
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[3].parameters(), "lr": 0.01}]
    adam, ratios = torch.optim.Adam(groups, lr=0.1), []

    def step() -> float:
        ratios.append(adam.param_groups[0]["lr"] / adam.param_groups[1]["lr"])
        loss = (model(torch.randn(16, 4)) + np.random.normal()).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        return loss.item()

    step()

    def state() -> list:
        moments = {number: dict(entry) for number, entry in adam.state_dict()["state"].items()}
        now = [dict(model.state_dict()), moments, adam.state_dict()["param_groups"], rng_state()]
        return json.loads(json.dumps(now, default=lambda tensor: tensor.tolist()))

    before = state()
    curve = ramp(step, model, adam, steps=20)
    assert curve.rates[5] == pytest.approx(1e-7 * 1e8 ** (5 / 19))
    assert state() == before
    assert [module.training for module in model] == [True, False, True, True]
    assert ratios == pytest.approx([10] * len(ratios))


def test_a_ramp_that_goes_nowhere_is_refused():
    model = nn.Linear(1, 1)
    for wrong in (dict(low=1.0, high=0.1), dict(low=0.0), dict(steps=9)):
        with pytest.raises(ValueError, match="0 < low < high and ten steps"):
            ramp(lambda: 1.0, model, torch.optim.SGD(model.parameters(), lr=1.0), **wrong)


def test_a_config_gets_its_curve_and_nothing_else(tmp_path: Path):
    config = tiny.config(tmp_path, batch_size=8, length=32, ema=True)
    text = config.pretty_text
    curve = find_rate(config, steps=40)
    told = json.loads((tmp_path / "lr_find.json").read_text())
    assert curve.diverged and told["suggestion"] == pytest.approx(curve.suggestion)
    assert 1e-4 < curve.suggestion <= 5
    assert (tmp_path / "lr_find.png").stat().st_size > 1000
    assert not [*tmp_path.rglob("*.pth"), *tmp_path.rglob("scores.jsonl"), *tmp_path.rglob("rates.txt")]
    assert config.pretty_text == text


def test_accumulated_batches_are_one_step(tmp_path: Path):
    config = tiny.config(tmp_path, batch_size=4, length=16)
    config.optim_wrapper.accumulative_counts = 2
    assert len(find_rate(config, steps=10, high=1e-5).losses) == 10


def test_the_command_says_what_to_write(tmp_path: Path, capsys: pytest.CaptureFixture):
    path = tmp_path / "tiny_config.py"
    tiny.config(tmp_path, batch_size=8, length=32).dump(path)
    main(["lr-find", str(path), "--steps", "40", "--work-dir", str(tmp_path / "run")])
    said = capsys.readouterr().out
    assert "--cfg-options optim_wrapper.optimizer.lr=" in said and "lr_find.png" in said
    with pytest.raises(SystemExit, match="2"):
        main(["lr-find", str(path), "--steps", "3"])
