"""Work directories: who holds one, what counts as a run in it, and what a second training may do there."""

import json
import os
import signal
import socket
from pathlib import Path

import processes
import pytest
import tiny
from mmengine.config import Config

from vdt3d.cli import main
from vdt3d.engine import Runner, work_dir
from vdt3d.engine.work_dir import LOCK, WorkDirError, checkpoints, claim, latest_checkpoint, require_free


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A directory with the files of a run, and some of the user's."""
    files = {
        **{f"{name}.pth": name for name in ("epoch_9", "epoch_10", "best_auc", "best_auc_epoch_10")},
        "last_checkpoint": "epoch_10.pth",
        "scores.jsonl": '{"split": "val", "epoch": 10, "iter": 40, "auc": 0.5}\n',
        "record.json": '{"train": {"finished": true, "results": {}}}',
        "epoch_9_good.pth": "a copy",
        "best_auc_backup.pth": "a copy",
        "notes.txt": "mine",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "20260101_120000").mkdir()
    return tmp_path


def held(folder: Path, **changes) -> dict:
    """Write the lock of this process, with changes, and return it."""
    lock = work_dir._this_process() | changes
    (folder / LOCK).write_text(json.dumps(lock))
    return lock


# ---- runs that are there ---------------------------------------------------------------------------------------------


def test_a_used_directory_is_refused_and_stays_as_it_was(used):
    before = {path.name: path.read_bytes() for path in used.glob("*.*")}
    with pytest.raises(WorkDirError, match=r"best_auc.pth, .* --resume, .* --overwrite"), claim(used):
        pass
    assert {path.name: path.read_bytes() for path in used.glob("*.*")} == before


def test_overwriting_deletes_the_run_and_nothing_of_the_user(used):
    with claim(used, overwrite=True):
        left = {path.name for path in used.iterdir()}
    assert left == {LOCK, "epoch_9_good.pth", "best_auc_backup.pth", "notes.txt", "20260101_120000"}
    with pytest.raises(WorkDirError, match="--resume and --overwrite"):
        require_free(used, resume=True, overwrite=True)


@pytest.mark.parametrize(
    ("name", "text", "counts"),
    [
        ("epoch_1.pth", "", True),
        ("preempted.pth", "", True),
        ("weights.pth", "", False),
        ("scores.jsonl", '{"split": "test", "auc": 0.5}\n', False),
        ("record.json", '{"test": {"results": {"auc": 0.5}}}', False),
        ("record.json", '{"train": {"finished": false, "results": {}}}', False),  # it failed before its first result
        ("record.json", '{"train": {"finished": false, "results": {"last": {}}}}', True),
        ("record.json", "{", True),
    ],
)
def test_what_counts_as_a_run(name, text, counts, tmp_path):
    (tmp_path / name).write_text(text)
    assert bool(work_dir.results_of_runs(tmp_path)) == counts


def test_the_checkpoint_to_resume_is_named_or_asked_for(used):
    assert latest_checkpoint(used) == used / "epoch_10.pth"
    assert latest_checkpoint(used / "20260101_120000") is None
    assert [path.name for path in checkpoints(used)][-1] == "epoch_10.pth"  # by number, not by letters
    (used / "epoch_10.pth").unlink()
    with pytest.raises(FileNotFoundError, match=r"epoch_10.pth is missing.*--resume .*epoch_10.pth"):
        latest_checkpoint(used)
    (used / "last_checkpoint").unlink()
    with pytest.raises(FileNotFoundError, match="last_checkpoint is missing"):
        require_free(used, resume=True)
    for path in checkpoints(used)[1:]:
        path.unlink()
    assert latest_checkpoint(used) in checkpoints(used)  # the only one


def test_a_checkpoint_of_another_directory_does_not_continue_this_run(used, tmp_path_factory):
    require_free(used, resume=str(used / "epoch_9.pth"))
    other = tmp_path_factory.mktemp("other")
    require_free(other, resume=str(used / "epoch_9.pth"))
    with pytest.raises(WorkDirError, match=r"--resume .*elsewhere/epoch_9.pth belongs to another"):
        require_free(used, resume="elsewhere/epoch_9.pth")


# ---- the lock --------------------------------------------------------------------------------------------------------


def test_a_lock_names_its_holder_and_is_released(tmp_path):
    with claim(tmp_path):
        holder = rf"process {os.getpid()} on {socket.gethostname()}"
        with pytest.raises(WorkDirError, match=holder), claim(tmp_path):
            pass
        assert (tmp_path / LOCK).is_file()
    assert not (tmp_path / LOCK).exists()


def claim_and_die(folder: Path) -> None:
    with claim(folder):
        os.kill(os.getpid(), signal.SIGKILL)


def test_the_lock_of_a_killed_process_is_replaced(tmp_path):
    assert processes.call(claim_and_die, tmp_path).code == -signal.SIGKILL
    assert (tmp_path / LOCK).is_file()
    with claim(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_a_process_with_the_number_of_a_dead_one_is_not_its_holder(tmp_path):
    held(tmp_path, started="0")
    require_free(tmp_path)


@pytest.mark.parametrize("place", [{"host": "node7"}, {"namespace": "pid:[7]"}])
def test_the_lock_of_another_host_stays(place, tmp_path):
    held(tmp_path, **place)
    with pytest.raises(WorkDirError, match=rf"on {place.get('host', socket.gethostname())} .*delete .*{LOCK}"):
        require_free(tmp_path)


def test_a_job_that_slurm_starts_again_takes_its_lock_over(tmp_path, monkeypatch):
    held(tmp_path, host="node7", job="42", restarts=0)
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    with pytest.raises(WorkDirError, match="node7"):
        require_free(tmp_path)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    with claim(tmp_path):
        pass


def test_a_lock_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(work_dir, "EMPTY_LOCK_S", 0.0)
    (tmp_path / LOCK).touch()
    with pytest.raises(WorkDirError, match=rf"delete .*{LOCK}"):
        require_free(tmp_path)


def test_a_lock_that_was_replaced_meanwhile_is_put_back(tmp_path, monkeypatch):
    stale, fresh = held(tmp_path, started="0"), held(tmp_path)
    found = iter([stale, fresh])
    monkeypatch.setattr(work_dir, "_read_lock", lambda lock: next(found))
    work_dir._remove_stale(tmp_path / LOCK)
    assert json.loads((tmp_path / LOCK).read_text()) == fresh
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


# ---- runs ------------------------------------------------------------------------------------------------------------


def train(folder: Path, channels: int) -> None:
    """Train, and name the checkpoints' owner by the learning rate."""
    tiny.train(tiny.config(folder, epochs=2, optim_wrapper=dict(optimizer=dict(type="SGD", lr=channels / 100))))


def test_of_two_runs_at_once_one_is_refused_and_leaves_nothing(tmp_path):
    found = processes.together((train, (tmp_path, 1), {}), (train, (tmp_path, 2), {}))
    assert sorted(outcome.code for outcome in found) == [0, 1]
    refused = next(outcome.result for outcome in found if outcome.code)
    assert refused.startswith("WorkDirError") and str(tmp_path) in refused
    assert len({tiny.saved(path)["optimizer"]["param_groups"][0]["initial_lr"] for path in checkpoints(tmp_path)}) == 1
    assert len(list(tmp_path.glob("*/*.log"))) == 1


def test_a_run_is_refused_resumed_and_overwritten(tmp_path):
    tiny.train(tiny.config(tmp_path, epochs=1))
    folders = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(WorkDirError, match=str(tmp_path)):
        tiny.train(tiny.config(tmp_path, epochs=1, randomness=dict(seed=9)))
    assert {path.name for path in tmp_path.iterdir()} == folders  # no log of the refused run
    tiny.train(tiny.config(tmp_path, epochs=2), resume=True)
    assert tiny.saved(tmp_path / "epoch_2.pth")["meta"]["seed"] == 3
    runner = tiny.train(tiny.config(tmp_path, epochs=1, randomness=dict(seed=9), overwrite=True))
    assert [path.name for path in checkpoints(tmp_path)] == ["epoch_1.pth"]
    assert tiny.saved(tmp_path / "epoch_1.pth")["meta"]["seed"] == 9
    assert "overwrite" not in runner.config_text


def test_a_test_works_beside_a_training_and_leaves_its_config(tmp_path):
    tiny.train(tiny.config(tmp_path, epochs=1))
    with claim(tmp_path, resume=True):
        (tmp_path / "my.py").write_text("model = 'of the training'\n")
        cfg = tiny.config(tmp_path, load_from=str(tmp_path / "epoch_1.pth"))
        cfg = Config(cfg.to_dict(), cfg_text="# a file", filename="my.py", format_python_code=False)
        assert "auc" in Runner.from_cfg(cfg).test()
    assert (tmp_path / "my.py").read_text() == "model = 'of the training'\n"


def test_a_run_that_fails_releases_its_directory(tmp_path):
    hook = dict(type="CheckpointHook", save_best="dice")
    with pytest.raises(ValueError, match="save_best"):
        tiny.train(tiny.config(tmp_path, epochs=1, default_hooks=dict(checkpoint=hook)))
    assert not (tmp_path / LOCK).exists()


def test_the_command_refuses_before_it_builds_a_model(used, capsys):
    path = used.parent / "tiny_config.py"
    tiny.config(used, model=dict(type="Nothing")).dump(path)
    words = ["train", str(path), "--work-dir", str(used)]
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert str(used) in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--overwrite"])
    assert "Nothing" in capsys.readouterr().err and (used / "epoch_9.pth").exists()  # it never came to train
