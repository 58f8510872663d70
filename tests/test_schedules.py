"""A resumed schedule: kept as it was, or rebuilt as if the run had had its new length from the beginning, and said."""

from pathlib import Path

import pytest
import tiny
import torch

from vdt3d.engine import Runner
from vdt3d.engine.schedules import count_as_run
from vdt3d.models.weights.files import CheckpointError
from vdt3d.registry import PARAM_SCHEDULERS

WARMUP = dict(type="LinearLR", start_factor=0.1, end=6, by_epoch=False)
COSINE = dict(type="CosineAnnealingLR", eta_min=1e-4, by_epoch=True)


def rates(folder: Path) -> list[str]:
    """What every iteration was done at, in the order they were done."""
    return (folder / "rates.txt").read_text().splitlines()


def log(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.glob("*/*.log"))


def lengthen(folder: Path, schedule: list[dict], before: int = 2, after: int = 4, **settings) -> tuple[Path, Path]:
    """The folders of a run of ``after`` epochs, and of one of ``before`` resumed to the same length."""
    whole, resumed = folder / "whole", folder / "resumed"
    for path in (whole, resumed):
        path.mkdir()
    quick = dict(val_cfg=None, val_dataloader=None, val_evaluator=None, **settings)

    def run(path: Path, epochs: int, resume: bool = False) -> None:
        parts = [{**part, "T_max": epochs} if part["type"].startswith("Cosine") else part for part in schedule]
        parts = [{**part, "total_steps": epochs} if part["type"] == "OneCycleLR" else part for part in parts]
        tiny.train(tiny.config(path, epochs=epochs, param_scheduler=parts, **quick), resume)

    run(whole, after)
    run(resumed, before)
    run(resumed, after, resume=True)
    return whole, resumed


@pytest.mark.parametrize(
    "schedule",
    [
        [COSINE],
        [WARMUP, COSINE],  # one by iterations, one by epochs, and a floor: the order of their steps matters
        [WARMUP, {**COSINE, "convert_to_iter_based": True}],
        [dict(type="OneCycleLR", eta_max=0.1, by_epoch=True, convert_to_iter_based=True)],
        [dict(type="PolyLR", power=0.9, eta_min=1e-5, by_epoch=True)],
        [dict(type="LinearWarmupLR", warmup=6, by_epoch=False)],
    ],
    ids=["cosine", "warm-up by iterations", "all by iterations", "one cycle", "poly", "warm-up of transformers"],
)
def test_a_schedule_that_ends_with_the_run_is_rebuilt_and_said(tmp_path, schedule):
    whole, resumed = lengthen(tmp_path, schedule)
    assert rates(resumed)[8:] == rates(whole)[8:]  # bit by bit from the first iteration of the third epoch on
    assert rates(resumed)[:8] != rates(whole)[:8]
    assert "the schedule was rebuilt and followed up to here: learning rate" in log(resumed)
    one, two = (tiny.saved(path / "epoch_4.pth")["param_schedulers"] for path in (whole, resumed))
    assert tiny.differences(one, two) == []


def test_a_schedule_of_its_own_length_leads_to_the_same_run(tmp_path):
    whole, resumed = lengthen(tmp_path, [dict(type="MultiStepLR", milestones=[1, 2], gamma=0.5)])
    assert rates(resumed) == rates(whole)
    assert tiny.same_run(whole / "epoch_4.pth", resumed / "epoch_4.pth") == []


def test_no_schedule_at_all(tmp_path):
    whole, resumed = lengthen(tmp_path, [])
    assert tiny.same_run(whole / "epoch_4.pth", resumed / "epoch_4.pth") == []
    assert "rebuilt" not in log(resumed)


PLATEAU = dict(type="ReduceOnPlateauLR", monitor="log_loss", rule="less", factor=0.5, patience=0)


def test_a_schedule_that_follows_a_score_is_kept_and_never_changed(tmp_path):
    def run(path: Path, at: int | None = None, resume: bool = False, **changes) -> None:
        hooks = () if at is None else (dict(type="SignalHook", at=at, name="SIGTERM"),)
        # A threshold no loss gets below: every validation halves the rate.
        schedule = [dict(PLATEAU, threshold=0.99, **changes)]
        tiny.train(tiny.config(path, epochs=3, hooks=hooks, param_scheduler=schedule), resume)

    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    whole.mkdir()
    resumed.mkdir()
    run(whole)
    assert [line.split()[1] for line in rates(whole)[::4]] == ["0.01", "0.01", "0.005"]
    with pytest.raises(SystemExit):
        run(resumed, at=9)
    run(resumed, resume=True)
    assert rates(resumed) == rates(whole)
    assert tiny.same_run(whole / "epoch_3.pth", resumed / "epoch_3.pth") == []
    with pytest.raises(CheckpointError, match="follows a score cannot be changed"):
        tiny.train(
            tiny.config(resumed, param_scheduler=[dict(PLATEAU, threshold=0.5)]), resume=str(resumed / "epoch_2.pth")
        )


def test_another_number_of_schedulers_is_refused(tmp_path):
    tiny.train(tiny.config(tmp_path, epochs=1))
    with pytest.raises(CheckpointError, match="had 1 schedulers, the config has 2"):
        tiny.train(tiny.config(tmp_path, param_scheduler=[WARMUP, COSINE]), resume=True)


def test_the_warm_up_of_transformers_has_the_published_rates():
    """3e-5 after 20 steps from 0, then straight to 0 at 25,000: half way between, 12,510, half of it."""
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=3e-5)
    scheduler = PARAM_SCHEDULERS.build(
        dict(type="LinearWarmupLR", optimizer=optimizer, warmup=20, end=25000, by_epoch=False)
    )
    rates = []
    for _ in range(25001):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[0] == 0
    assert [rates[step] for step in (10, 20, 12510)] == pytest.approx([1.5e-5, 3e-5, 1.5e-5])
    assert rates[24999] == pytest.approx(3e-5 / 24980)
    assert rates[25000] == 0


def test_a_run_within_its_warm_up_is_refused():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1)
    with pytest.raises(ValueError, match="a warm-up of 20 does not end within a run of 20"):
        PARAM_SCHEDULERS.build(dict(type="LinearWarmupLR", optimizer=optimizer, warmup=20, end=20, by_epoch=False))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (dict(type="CosineAnnealingLR"), [0.01, 0.0075, 0.0025]),  # 0.01 (1 + cos(pi t / 3)) / 2
        (dict(type="MultiStepLR", milestones=[1, 2], gamma=0.5), [0.01, 0.005, 0.0025]),
    ],
)
def test_a_schedule_counts_iterations_in_a_run_by_iterations(tmp_path, schedule, expected):
    quick = dict(val_cfg=None, val_dataloader=None, val_evaluator=None)
    tiny.train(tiny.config(tmp_path, iterations=3, param_scheduler=schedule, **quick))
    assert [float(line.split()[1]) for line in rates(tmp_path)] == pytest.approx(expected)


@pytest.mark.parametrize("counting", [dict(by_epoch=True), dict(convert_to_iter_based=True)])
def test_a_schedule_by_epochs_in_a_run_by_iterations_is_refused(counting):
    with pytest.raises(ValueError, match="CosineAnnealingLR"):
        count_as_run(dict(type="CosineAnnealingLR", **counting), by_iterations=True)
    assert count_as_run(dict(type="CosineAnnealingLR", **counting), by_iterations=False)
    plateau = dict(type="ReduceOnPlateauLR", monitor="auc")  # moves at validations, however the run counts
    assert count_as_run([plateau], by_iterations=True) == [plateau]


@pytest.mark.parametrize(
    ("batch", "parts", "base", "rate"), [(2, 4, 8, 0.01), (8, 1, 8, 0.01), (2, 4, 16, 0.005), (2, 1, 8, 0.0025)]
)
def test_the_rate_is_scaled_by_the_samples_of_a_step(tmp_path, batch, parts, base, rate):
    runner = Runner.from_cfg(tiny.config(tmp_path, batch_size=batch))
    wrapper = runner.build_optim_wrapper(dict(optimizer=dict(type="SGD", lr=0.01), accumulative_counts=parts))
    runner.scale_lr(wrapper, dict(enable=True, base_batch_size=base))
    assert wrapper.optimizer.param_groups[0]["lr"] == pytest.approx(rate)
