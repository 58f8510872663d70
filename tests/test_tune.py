"""The search: what a space may say, processes that share trials, one that is killed, one real search of a config."""

import json
import math
import os
import signal
from pathlib import Path

import processes
import pytest
import tiny
from optuna.trial import TrialState

from vdt3d.cli import main
from vdt3d.experiments.digests import study_digests
from vdt3d.experiments.tuning import Space, as_options, search, summarise

CONTENT = {"x": {"low": -1.0, "high": 1.0}, "kind": ["a", [1, 2]]}


def parabola(settings: dict, folder: Path, tell) -> float:
    """Best at 0.5; each call leaves a line in the folder of its trial."""
    with (folder / "calls.txt").open("a") as file:
        file.write(f"{os.getpid()} {json.dumps(settings)}\n")
    return -((settings["x"] - 0.5) ** 2)


def killed_in_the_third(settings: dict, folder: Path, tell) -> float:
    score = parabola(settings, folder, tell)
    if folder.name == "2" and len((folder / "calls.txt").read_text().splitlines()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return score


def stopped_at_once(settings: dict, folder: Path, tell) -> float:
    if not (folder / "stopped").exists():
        (folder / "stopped").touch()
        raise SystemExit(143)
    return parabola(settings, folder, tell)


def run(folder: Path, train=parabola, trials: int = 8) -> list[tuple[int, float]]:
    """A search of ``CONTENT``; returns number and value of its finished trials."""
    study = search(folder, Space(CONTENT), train, trials=trials)
    return [(trial.number, trial.value) for trial in study.trials if trial.state == TrialState.COMPLETE]


# ---- the space -------------------------------------------------------------------------------------------------------


def test_a_space_of_ranges_and_choices(tmp_path: Path):
    path = tmp_path / "space.yaml"
    path.write_text("lr: {low: 1e-5, high: 1e-2, log: true}\nwidth: {low: 8, high: 32, step: 8}\npatch: [[8, 8], 4]\n")
    found = Space.read(path).distributions
    assert (found["lr"].low, found["lr"].high, found["lr"].log) == (1e-5, 1e-2, True)  # to yaml, 1e-5 is a word
    assert (found["width"].low, found["width"].high, found["width"].step) == (8, 32, 8)
    settings = Space.read(path).settings({"lr": 0.1, "width": 8, "patch": "[8, 8]"})
    assert settings == {"lr": 0.1, "width": 8, "patch": [8, 8]}
    assert as_options(settings) == ["lr=0.1", "width=8", "patch=[8,8]"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1", "mapping from settings"),
        ("lr: 3", "lr: wanted a list of choices or"),
        ("lr: []", "lr: wanted a list"),
        ("lr: {low: 1, high: 2, base: 10}", "lr: wanted"),
        ("lr: {low: 2.0, high: 1.0}", "lr: "),
        ("lr: {low: small, high: 1.0}", "lr: could not convert"),
        ("lr: {low: 1", "space.yaml"),
    ],
)
def test_what_is_no_space_is_refused(text: str, said: str, tmp_path: Path):
    (tmp_path / "space.yaml").write_text(text)
    with pytest.raises(ValueError, match=said):
        Space.read(tmp_path / "space.yaml")


def test_a_setting_that_would_change_nothing_is_refused(tmp_path: Path):
    config = tiny.config(tmp_path)
    Space({"optim_wrapper.optimizer.weight_decay": [0, 1], "param_scheduler.0.gamma": [0.1, 0.2]}).check(config)
    for name, said in {
        "optim_wraper.optimizer.lr": "no 'optim_wraper'",
        "optim_wrapper.optimiser.lr": "no 'optimiser'",
        "param_scheduler.1.gamma": "no '1'",
        "model.head.num_classes.x": "no 'x'",
    }.items():
        with pytest.raises(ValueError, match=said):
            Space({name: [1, 2]}).check(config)


# ---- the trials ------------------------------------------------------------------------------------------------------


def test_a_search_that_goes_on_is_the_search_that_was_not_interrupted(tmp_path: Path):
    whole = run(tmp_path / "whole")
    assert [number for number, _ in whole] == list(range(8))
    run(tmp_path / "parts", trials=3)
    assert run(tmp_path / "parts") == whole
    assert run(tmp_path / "parts") == whole  # there is nothing left to do


def test_two_processes_share_the_trials(tmp_path: Path):
    found = processes.together((run, (tmp_path,), {}), (run, (tmp_path,), {}))
    assert [outcome.code for outcome in found] == [0, 0]
    calls = [(tmp_path / f"trials/{number}/calls.txt").read_text().splitlines() for number in range(8)]
    assert all(len(lines) == 1 for lines in calls)
    assert len({lines[0].partition(" ")[2] for lines in calls}) == 8  # no two drew alike
    assert len(run(tmp_path)) == 8 and not (tmp_path / "trials/8").exists()


def test_a_killed_trial_is_done_again_in_its_folder(tmp_path: Path):
    assert processes.call(run, tmp_path, killed_in_the_third).code == -signal.SIGKILL
    assert len(run(tmp_path, killed_in_the_third)) == 8
    first, second = (tmp_path / "trials/2/calls.txt").read_text().splitlines()
    assert first.partition(" ")[2] == second.partition(" ")[2] and first != second
    assert not (tmp_path / "trials/3/calls.txt").exists()  # the third trial's number for the second time


def test_a_trial_that_was_asked_to_stop_goes_on(tmp_path: Path):
    with pytest.raises(SystemExit):
        run(tmp_path, stopped_at_once, trials=1)
    assert len(run(tmp_path, stopped_at_once, trials=1)) == 1
    assert (tmp_path / "trials/0/calls.txt").exists()


def test_what_falls_behind_is_given_up(tmp_path: Path):
    told = []

    def train(settings: dict, folder: Path, tell) -> float:
        score = 0.0 if folder.name == "6" else 1.0
        for step in (1, 2, 3):
            told.append((folder.name, step))
            tell(step, score)
        return score

    study = search(tmp_path, Space(CONTENT), train, trials=8)
    assert [trial.number for trial in study.trials if trial.state == TrialState.PRUNED] == [6]
    assert [step for name, step in told if name == "6"] == [1]  # five trials tell the median


def test_a_trial_that_fails_is_told_and_not_the_end(tmp_path: Path):
    def train(settings: dict, folder: Path, tell) -> float:
        if folder.name in "13":
            raise RuntimeError("out of memory")
        return math.nan if folder.name == "4" else parabola(settings, folder, tell)

    space = Space(CONTENT)
    study = search(tmp_path, space, train, trials=6)
    report = summarise(study, space, tmp_path, "auc")
    errors = {trial["number"]: trial["error"] for trial in report["trials"] if "error" in trial}
    assert errors == {1: "RuntimeError: out of memory", 3: errors[3], 4: "ArithmeticError: the score is nan"}
    assert [trial["state"] for trial in report["trials"]].count("complete") == 3


def test_a_mistake_that_is_in_every_trial_ends_the_search(tmp_path: Path):
    calls = []

    def train(settings: dict, folder: Path, tell) -> float:
        calls.append(folder.name)
        raise (FileNotFoundError if len(calls) > 3 else TypeError)("no such option")

    with pytest.raises(TypeError, match="no such option"):
        search(tmp_path / "a", Space(CONTENT), train, trials=20)
    assert calls == ["0", "1", "2"]
    with pytest.raises(FileNotFoundError):
        search(tmp_path / "b", Space(CONTENT), train, trials=20)
    assert len(calls) == 4


def test_bad_input_ends_a_search_that_has_no_score_yet(tmp_path: Path):
    def train(settings: dict, folder: Path, tell) -> float:
        if folder.name in "02":
            raise ValueError("no such setting")
        return parabola(settings, folder, tell)

    with pytest.raises(ValueError, match="no such setting"):
        search(tmp_path, Space(CONTENT), train, trials=4)
    assert [number for number, _ in run(tmp_path, train, trials=4)] == [1, 3]  # later, it may be the trial's settings


def test_a_search_without_any_score_is_reported(tmp_path: Path):
    def train(settings: dict, folder: Path, tell) -> float:
        raise RuntimeError("out of memory")

    space = Space(CONTENT)
    report = summarise(search(tmp_path, space, train, trials=2), space, tmp_path, "auc")
    assert report["best"] is None and [trial["state"] for trial in report["trials"]] == ["fail", "fail"]
    assert (tmp_path / "tune.json").is_file()


def test_a_search_of_another_score_config_or_data_is_refused(tmp_path: Path):
    cfg = tiny.config(tmp_path, length=6)
    first = study_digests(cfg, "auc")
    cfg.work_dir, cfg.resume = "elsewhere", True  # where it runs does not matter
    assert study_digests(cfg, "auc") == first
    search(tmp_path, Space(CONTENT), parabola, trials=1, identity=first)
    cfg.train_dataloader.dataset.length = 8
    second = study_digests(cfg, "accuracy")
    with pytest.raises(ValueError, match=rf"{tmp_path} contains a search that differs in score, config, data"):
        search(tmp_path, Space(CONTENT), parabola, trials=2, identity=second)


def test_a_trial_takes_over_the_directory_of_a_process_that_is_gone(tmp_path: Path):
    def train(settings: dict, folder: Path, tell) -> float:
        assert not (folder / "run.lock").exists()
        return parabola(settings, folder, tell)

    (tmp_path / "trials/0").mkdir(parents=True)
    (tmp_path / "trials/0/run.lock").write_text('{"host": "elsewhere"}')
    assert len(run(tmp_path, train, trials=1)) == 1


def test_another_search_in_the_folder_is_refused(tmp_path: Path):
    run(tmp_path, trials=1)
    with pytest.raises(ValueError, match="differs in greater"):
        search(tmp_path, Space(CONTENT), parabola, trials=2, greater=False)
    with pytest.raises(ValueError, match="differs in space"):
        search(tmp_path, Space({"x": [1, 2]}), parabola, trials=2)
    with pytest.raises(ValueError, match="one trial at least"):
        run(tmp_path, trials=0)


def test_the_report_names_the_best_and_what_matters(tmp_path: Path):
    space = Space({"x": {"low": -1.0, "high": 1.0}, "idle": {"low": 0.0, "high": 1.0}})
    study = search(tmp_path, space, parabola, trials=20)
    report = summarise(study, space, tmp_path, "auc")
    best = max(report["trials"], key=lambda trial: trial["value"])
    assert report["best"] == best and abs(best["settings"]["x"] - 0.5) < 0.3
    assert report["importances"]["x"] > report["importances"]["idle"]
    assert json.loads((tmp_path / "tune.json").read_text()) == report
    assert (tmp_path / "tune.png").stat().st_size > 1000


# ---- the command -----------------------------------------------------------------------------------------------------


def test_a_config_is_searched(tmp_path: Path, capsys: pytest.CaptureFixture):
    hooks = dict(checkpoint=dict(type="CheckpointHook", interval=1, save_best="auc"), scores=dict(type="ScoresHook"))
    path = tmp_path / "tiny_config.py"
    tiny.config(tmp_path, epochs=2, default_hooks=hooks).dump(path)
    space = tmp_path / "space.yaml"
    space.write_text("optim_wrapper.optimizer.lr: {low: 1.0e-4, high: 1.0e-1, log: true}\n")
    words = ["tune", str(path), "--space", str(space), "--work-dir", str(tmp_path / "search"), "--trials", "2"]
    main(words)
    said = capsys.readouterr().out
    told = json.loads((tmp_path / "search/tune.json").read_text())
    rate = told["best"]["settings"]["optim_wrapper.optimizer.lr"]
    assert f"best: --cfg-options optim_wrapper.optimizer.lr={rate}" in said
    for trial in told["trials"]:
        folder = tmp_path / "search" / trial["folder"]
        lines = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
        assert trial["value"] == max(line["auc"] for line in lines) and len(lines) == 2
    space.write_text("optim_wrapper.optimiser.lr: [1, 2]\n")
    with pytest.raises(SystemExit, match="2"):
        main(words)
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--cfg-options", "default_hooks.checkpoint.save_best=none"])
    space.write_text("optim_wrapper.optimizer.lr: {low: 1.0e-4, high: 1.0e-1, log: true}\n")
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--score", "accuracy"])
    assert f"{tmp_path / 'search'} contains a search that differs in score" in capsys.readouterr().err
