"""A run that was stopped, however, and resumed equals the run that was not: every tensor, bit by bit."""

import json
import logging
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import SimpleNamespace

import processes
import pytest
import tiny
import torch

from vdt3d.engine.hooks import checkpoint as checkpoint_hook
from vdt3d.engine.work_dir import latest_checkpoint
from vdt3d.evaluation import ClassificationScores
from vdt3d.models.weights.files import CheckpointError, write_checkpoint

ROOT = Path(__file__).parents[1]
ACCUMULATING = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1, momentum=0.9), accumulative_counts=3)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def straight(folder: Path, **settings) -> Path:
    folder.mkdir()
    tiny.train(tiny.config(folder, **settings))
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Four epochs without a stop, with EMA and dropout, read without workers."""
    return straight(tmp_path_factory.mktemp("runs") / "whole", ema=True)


def stop(folder: Path, at: int, name: str, **settings) -> None:
    """Train until the signal comes in the middle of iteration ``at``."""
    hook = dict(type="SignalHook", at=at, name=name)
    if name == "SIGTERM":
        with pytest.raises(SystemExit) as stopped:
            tiny.train(tiny.config(folder, hooks=(hook,), **settings))
        assert stopped.value.code == 143
        traceback.clear_frames(stopped.tb)  # they hold the loader's workers
        assert latest_checkpoint(folder).name == "preempted.pth"
    else:
        assert processes.call(train_until_killed, folder, hook, settings).code == -9


def train_until_killed(folder: Path, hook: dict, settings: dict) -> None:
    tiny.train(tiny.config(folder, hooks=(hook,), **settings))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_a_stop_within_an_epoch_changes_nothing(whole, tmp_path, name, workers):
    stop(tmp_path, 6, name, ema=True, workers=workers)
    assert not (tmp_path / "epoch_2.pth").exists()
    tiny.train(tiny.config(tmp_path, ema=True, workers=workers), resume=True)
    assert tiny.same_run(whole / "epoch_4.pth", tmp_path / "epoch_4.pth") == []
    first, last = tiny.saved(whole / "epoch_1.pth"), tiny.saved(whole / "epoch_4.pth")
    assert tiny.differences(first["state_dict"], last["state_dict"])  # it did train


def test_a_traced_encoder_resumes_and_is_averaged_exactly(tmp_path):
    model = tiny.config(tmp_path).model.to_dict()
    model["backbone"] = dict(type="Convert2d", model="timm.test_efficientnet", how="2.5d", out_indices=(2,))
    model["head"]["in_channels"] = 32
    settings = dict(model=model, ema=True, epochs=2, length=4)
    whole = straight(tmp_path / "whole", **settings)
    part = tmp_path / "part"
    stop(part, 2, "SIGTERM", **settings)
    tiny.train(tiny.config(part, **settings), resume=True)
    assert tiny.same_run(whole / "epoch_2.pth", part / "epoch_2.pth") == []
    saved = tiny.saved(whole / "epoch_2.pth")
    for state in (saved["state_dict"], saved["ema_state_dict"]):
        counts = [value.max() for key, value in state.items() if key.endswith("num_batches_tracked")]
        assert counts and set(map(int, counts)) == {4}  # every norm, from the first step


@pytest.mark.parametrize("at", [3, 7])
def test_a_stop_at_the_last_iteration_of_an_epoch(whole, tmp_path, at):
    stop(tmp_path, at, "SIGTERM", ema=True)
    tiny.train(tiny.config(tmp_path, ema=True), resume=True)
    assert tiny.same_run(whole / "epoch_4.pth", tmp_path / "epoch_4.pth") == []


def test_fewer_epochs_first_and_the_rest_on_resuming(whole, tmp_path):
    tiny.train(tiny.config(tmp_path, ema=True, epochs=2))
    tiny.train(tiny.config(tmp_path, ema=True, epochs=4), resume=True)
    assert tiny.same_run(whole / "epoch_4.pth", tmp_path / "epoch_4.pth") == []


def test_any_checkpoint_can_be_resumed_and_is_validated_first(whole, tmp_path):
    tiny.train(tiny.config(tmp_path, ema=True), resume=str(whole / "epoch_2.pth"))
    assert tiny.same_run(whole / "epoch_4.pth", tmp_path / "epoch_4.pth") == []
    assert scores(tmp_path) == scores(whole)[1:]  # of epochs 2, 3 and 4


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_gradients_of_an_unfinished_accumulation_are_state(tmp_path, name):
    reference = straight(tmp_path / "whole", optim_wrapper=ACCUMULATING)
    stop(tmp_path, 6, name, optim_wrapper=ACCUMULATING)  # seven iterations done, six of them in steps of three
    if name == "SIGTERM":
        assert tiny.saved(tmp_path / "preempted.pth")["processes"][0]["gradients"]
    tiny.train(tiny.config(tmp_path, optim_wrapper=ACCUMULATING), resume=True)
    assert tiny.same_run(reference / "epoch_4.pth", tmp_path / "epoch_4.pth") == []


@pytest.mark.parametrize(("name", "workers"), [("SIGTERM", 2), ("SIGKILL", 0)])
def test_a_run_by_iterations(tmp_path, name, workers):
    settings = dict(iterations=14, ema=True, workers=workers)
    reference = straight(tmp_path / "whole", **settings)
    stop(tmp_path, 10, name, **settings)
    tiny.train(tiny.config(tmp_path, **settings), resume=True)
    assert tiny.same_run(reference / "iter_14.pth", tmp_path / "iter_14.pth") == []


def test_the_seed_that_was_drawn_is_kept(tmp_path):
    stop(tmp_path, 6, "SIGTERM", randomness=dict(seed=None))
    tiny.train(tiny.config(tmp_path, randomness=dict(seed=None)), resume=True)
    seeds = {tiny.saved(tmp_path / name)["meta"]["seed"] for name in ("preempted.pth", "epoch_4.pth")}
    assert len(seeds) == 1


def test_other_batches_go_on_at_the_same_part_of_the_epoch(tmp_path):
    stop(tmp_path, 5, "SIGTERM")  # one epoch and two of its four iterations
    runner = tiny.train(tiny.config(tmp_path, batch_size=4), resume=True)
    rates = [int(line.split()[0]) for line in (tmp_path / "rates.txt").read_text().splitlines()]
    assert rates == [0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 7]  # epochs of two: the second one's second half is iteration 3
    assert (runner.epoch, runner.iter) == (4, 8)
    assert "rebuilt" in log(tmp_path)


def test_other_batches_without_any_schedule(tmp_path):
    tiny.train(tiny.config(tmp_path, epochs=1, param_scheduler=None))
    assert tiny.train(tiny.config(tmp_path, epochs=2, param_scheduler=None, batch_size=4), resume=True).iter == 4


def test_another_optimizer_is_refused_and_its_other_settings_are_said(tmp_path):
    sgd = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=0.01)
    tiny.train(tiny.config(tmp_path, epochs=1, optim_wrapper=dict(optimizer=sgd)))
    with pytest.raises(CheckpointError, match=r"another optimizer, with dampening, momentum, nesterov: .*load_from"):
        tiny.train(tiny.config(tmp_path, epochs=2), resume=True)
    tiny.train(tiny.config(tmp_path, epochs=2, optim_wrapper=dict(optimizer=dict(sgd, weight_decay=0.5))), resume=True)
    assert "The checkpoint's weight_decay 0.01 replaces this config's 0.5" in log(tmp_path)
    assert log(tmp_path).count("replaces") == 1


def test_an_average_of_weights_is_not_gone_on_with_as_if_it_were_none(whole, tmp_path):
    with pytest.raises(CheckpointError, match=r"epoch_1.pth: its run averaged the weights, .*EMAHook.*load_from"):
        tiny.train(tiny.config(tmp_path), resume=str(whole / "epoch_1.pth"))


def test_nothing_to_resume_starts_from_the_beginning(tmp_path):
    assert tiny.train(tiny.config(tmp_path, epochs=1), resume=True).iter == 4
    assert "Nothing to resume" in log(tmp_path)


def test_nothing_to_resume_still_starts_from_the_weights(whole, tmp_path):
    tiny.train(tiny.config(tmp_path, epochs=1, load_from=str(whole / "epoch_4.pth")), resume=True)
    assert "Loaded weights" in log(tmp_path)


def test_runs_that_begin_within_one_second_have_logs_of_their_own(tmp_path, monkeypatch):
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    for name in ("first", "second"):
        tiny.train(tiny.config(tmp_path / name, epochs=1))
    assert all("Epoch(train)" in log(tmp_path / name) for name in ("first", "second"))


def test_weights_alone_are_no_run_to_resume(whole, tmp_path):
    write_checkpoint({"state_dict": tiny.saved(whole / "epoch_1.pth")["state_dict"]}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"weights.pth: no meta, .*load_from="):
        tiny.train(tiny.config(tmp_path), resume=str(tmp_path / "weights.pth"))
    with pytest.raises(CheckpointError, match=r"backbone\.norm.*load_from"):
        tiny.train(tiny.config(tmp_path, epochs=1))
        tiny.train(tiny.config(tmp_path, norm="GN"), resume=True)


@pytest.mark.parametrize("group", [True, False], ids=["all processes are told", "the main process is told"])
def test_a_preempted_command_leaves_soon_and_leaves_nobody_behind(whole, tmp_path, group):
    hook = dict(type="SignalHook", at=6, name="SIGTERM", group=group)
    tiny.config(tmp_path, ema=True, workers=2, hooks=(hook,)).dump(tmp_path / "config.py")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, ROOT / "tools/train.py", tmp_path / "config.py", "--work-dir", tmp_path]
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    assert process.wait(timeout=300) == 143
    assert time.time() - (tmp_path / "preempted.pth").stat().st_mtime < 30
    with pytest.raises(ProcessLookupError):  # the group is empty
        os.killpg(process.pid, 0)
    tiny.train(tiny.config(tmp_path, ema=True), resume=True)
    assert tiny.same_run(whole / "epoch_4.pth", tmp_path / "epoch_4.pth") == []


# ---- files ----


def test_which_checkpoints_stay(tmp_path):
    hook = dict(type="CheckpointHook", max_keep_ckpts=2, save_best="log_loss")
    tiny.train(tiny.config(tmp_path, default_hooks=dict(checkpoint=hook, scores=dict(type="ScoresHook"))))
    assert [path.name for path in sorted(tmp_path.glob("*.pth"))] == ["best_log_loss.pth", "epoch_3.pth", "epoch_4.pth"]
    assert (tmp_path / "last_checkpoint").read_text() == "epoch_4.pth"
    losses = [line["log_loss"] for line in scores(tmp_path)]
    assert tiny.saved(tmp_path / "best_log_loss.pth")["meta"]["epoch"] == 1 + losses.index(min(losses))
    # Going back to an early checkpoint: the newest file stays, whatever its number.
    tiny.train(
        tiny.config(tmp_path, epochs=4, default_hooks=dict(checkpoint=dict(hook, max_keep_ckpts=1))),
        resume=str(tmp_path / "epoch_3.pth"),
    )
    assert [path.name for path in tmp_path.glob("epoch_*.pth")] == ["epoch_4.pth"]


def test_what_a_user_copied_stays(tmp_path):
    tiny.train(tiny.config(tmp_path, epochs=1))
    shutil.copy(tmp_path / "epoch_1.pth", tmp_path / "epoch_1_good.pth")
    hook = dict(type="CheckpointHook", max_keep_ckpts=1)
    tiny.train(tiny.config(tmp_path, epochs=2, default_hooks=dict(checkpoint=hook)), resume=True)
    assert [path.name for path in sorted(tmp_path.glob("*.pth"))] == ["epoch_1_good.pth", "epoch_2.pth"]


def test_going_back_to_an_early_checkpoint_removes_the_scores_that_came_after_it(tmp_path):
    tiny.train(tiny.config(tmp_path, epochs=3))
    with (tmp_path / "scores.jsonl").open("a") as file:
        file.write('{"split": "test", "epoch": 0, "iter": 0, "auc": 0.5}\n')
    before = scores(tmp_path)
    tiny.train(tiny.config(tmp_path, epochs=3), resume=str(tmp_path / "epoch_1.pth"))
    after = scores(tmp_path)
    assert [(line["split"], line["epoch"]) for line in after] == [("test", 0), ("val", 1), ("val", 2), ("val", 3)]
    assert after[1:] == before[:3]
    tiny.train(tiny.config(tmp_path, epochs=2), resume=str(tmp_path / "epoch_2.pth"))  # nothing is left to train
    assert [(line["split"], line["epoch"]) for line in scores(tmp_path)] == [("test", 0), ("val", 1), ("val", 2)]


def test_a_resumed_run_validates_as_often_as_its_dynamic_intervals_ask(tmp_path):
    cfg = tiny.config(tmp_path, train_cfg=dict(by_epoch=True, max_epochs=4, val_interval=3, dynamic_intervals=[(2, 1)]))
    cfg.train_cfg.max_epochs = 2
    tiny.train(cfg)
    (tmp_path / "scores.jsonl").unlink()  # as if the process had been killed before the validation of epoch 2
    cfg.train_cfg.max_epochs = 4
    tiny.train(cfg, resume=True)
    assert [line["epoch"] for line in scores(tmp_path)] == [2, 3, 4]


def test_several_best_checkpoints_are_kept(tmp_path, monkeypatch):
    values = iter([0.5, 0.7, math.nan, 0.7, 0.6])
    compute = ClassificationScores.compute_metrics
    monkeypatch.setattr(ClassificationScores, "compute_metrics", lambda *a: compute(*a) | {"auc": next(values)})
    hook = dict(type="CheckpointHook", save_best="auc", keep_best=3, max_keep_ckpts=1)
    tiny.train(tiny.config(tmp_path, epochs=5, default_hooks=dict(checkpoint=hook)))
    files = {path.name: tiny.saved(path) for path in tmp_path.glob("best_*.pth")}
    kept = {name: content["meta"]["epoch"] for name, content in files.items()}
    assert kept == {"best_auc.pth": 2, **{f"best_auc_epoch_{n}.pth": n for n in (2, 4, 5)}}
    for content in files.values():  # each can be resumed
        assert content["message_hub"]["runtime_info"]["best_scores"] == {"auc": 0.7}
    with pytest.raises(ValueError, match="keep_best=0"):
        checkpoint_hook.CheckpointHook(keep_best=0)


def test_what_cannot_be_saved_is_found_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr(tiny.TinyVolumes, "METAINFO", {"classes": ("dark", "bright"), "root": tmp_path})
    tiny.train(tiny.config(tmp_path / "path", epochs=1))
    assert tiny.saved(tmp_path / "path/epoch_1.pth")["meta"]["dataset_meta"]["root"] == str(tmp_path)
    monkeypatch.setattr(tiny.TinyVolumes, "METAINFO", {"classes": ("dark", "bright"), "reader": object()})
    with pytest.raises(CheckpointError, match=r"\['dataset_meta'\]\['reader'\] is a object"):
        tiny.train(tiny.config(tmp_path / "object", epochs=1))
    assert not (tmp_path / "object/rates.txt").exists()


def test_a_batch_of_one_that_batch_norm_cannot_use_is_explained(tmp_path):
    cfg = tiny.config(tmp_path, length=3)
    cfg.model.backbone = dict(type="ResNet3D", depth=10, base_channels=4, depth_stride=True)
    cfg.model.head.in_channels = 32
    with pytest.raises(ValueError, match=r"train_dataloader: .* \(3 samples on 1 processes in batches of 2\)"):
        tiny.train(cfg)


def test_after_an_error_sigterm_is_what_it_was(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    hooks = dict(checkpoint=dict(type="CheckpointHook", save_best="dice"), preemption=dict(type="PreemptionHook"))
    with pytest.raises(ValueError, match="save_best"):
        tiny.train(tiny.config(tmp_path, epochs=1, default_hooks=hooks))
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_unknown_score_cannot_decide_which_is_best(tmp_path):
    with pytest.raises(ValueError, match=r"save_best='dice' .*auc.*accuracy"):
        hook = dict(type="CheckpointHook", save_best="dice")
        tiny.train(tiny.config(tmp_path, epochs=1, default_hooks=dict(checkpoint=hook)))


def test_a_score_that_does_not_exist_is_never_the_best(tmp_path):
    hub = SimpleNamespace(runtime_info={}, update_info=lambda name, value: hub.runtime_info.update({name: value}))
    written = []
    run = SimpleNamespace(
        training=True,
        message_hub=hub,
        work_dir=tmp_path,
        epoch=0,
        iter=0,
        logger=logging.getLogger("test"),
        val_loop=SimpleNamespace(evaluator=SimpleNamespace(metrics=[])),
        save_checkpoint=lambda *args, **kwargs: written.append(hub.runtime_info["best_scores"]["auc"]),
    )
    hook = checkpoint_hook.CheckpointHook(save_best="auc", rule="greater")
    for score in (math.nan, 0.5, math.nan, 0.5, 0.7, 0.6):
        hook.after_val_epoch(run, {"auc": score})
    assert written == [0.5, 0.7]
    assert (tmp_path / "last_checkpoint").read_text() == "best_auc.pth"  # a stop before the first regular one


def test_a_crash_between_the_two_writes_leaves_a_run_to_resume(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:

        def crash_at_the_second(checkpoint: Path) -> None:
            if checkpoint.name == "epoch_2.pth":
                raise MemoryError
            checkpoint_hook.write_aside(checkpoint.parent / "last_checkpoint", lambda p: p.write_text(checkpoint.name))

        patched.setattr(checkpoint_hook, "point_to", crash_at_the_second)
        with pytest.raises(MemoryError):
            tiny.train(tiny.config(tmp_path, ema=True))
    assert latest_checkpoint(tmp_path).name == "epoch_1.pth"
    tiny.train(tiny.config(tmp_path, ema=True), resume=True)
    assert tiny.same_run(whole / "epoch_4.pth", tmp_path / "epoch_4.pth") == []


def test_a_full_disk_keeps_the_checkpoint_there_is(tmp_path):
    outcome = processes.call(train_then_fill_the_disk, tmp_path)
    assert outcome.code == 1
    assert outcome.result.startswith("OSError")
    assert "it was not written, and what was there before is whole: " in outcome.result
    assert "epoch_2.pth" in outcome.result
    assert latest_checkpoint(tmp_path).name == "epoch_1.pth"
    assert tiny.saved(tmp_path / "epoch_1.pth")["meta"]["epoch"] == 1
    assert [path.name for path in tmp_path.glob("*epoch_2*")] + [path.name for path in tmp_path.glob(".*")] == []


def train_then_fill_the_disk(folder: Path) -> None:
    tiny.train(tiny.config(folder, epochs=1))
    size = (folder / "epoch_1.pth").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, size - 1))  # Python ignores the signal that comes with it
    tiny.train(tiny.config(folder, epochs=2), resume=True)


def scores(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]


def log(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.glob("*/*.log"))
