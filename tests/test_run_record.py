"""The record of a run: what it holds and keeps to itself, how it grows, and that it is enough to repeat the run."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import tiny

from vdt3d.cli import main
from vdt3d.engine.run_record import changes, command, config_of, fingerprint, read_records


def recorded(work_dir: Path, **settings):
    """The config of a tiny run that keeps a record."""
    cfg = tiny.config(work_dir, **settings)
    cfg.default_hooks.record = dict(type="RunRecordHook")
    cfg.default_hooks.checkpoint.save_best = "accuracy"
    return cfg


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """Two runs, of which the second has another learning rate."""
    base = tmp_path_factory.mktemp("runs")
    tiny.train(recorded(base / "slow"))
    tiny.train(recorded(base / "fast", optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.05))))
    return base


def test_what_a_record_holds(two):
    record = read_records(two / "slow")["train"]
    assert record["finished"] and record["seed"] == 3 and record["seconds"] > 0
    assert record["packages"]["torch"] and record["environment"]["processes"] == 1
    assert record["data"]["train"]["cases"] == 8 and record["data"]["val"]["cases"] == 7
    assert set(record["git"] or {"commit": "", "diff": "", "untracked": ""}) == {"commit", "diff", "untracked"}
    lines = [json.loads(line) for line in (two / "slow/scores.jsonl").read_text().splitlines()]
    last, best = record["results"]["last"], record["results"]["best"]
    assert last == {name: lines[-1][name] for name in last} and record["results"]["iter"] == 16
    assert best == {"accuracy": max(line["accuracy"] for line in lines)}


def test_names_of_hosts_and_users_stay_out(two, monkeypatch):
    import getpass
    import platform

    record = read_records(two / "slow")["train"]
    told = json.dumps({key: record[key] for key in ("command", "environment", "data", "packages")}).split('"')
    assert platform.node() not in told and getpass.getuser() not in told
    monkeypatch.setattr("sys.argv", ["/home/jane/tools/train.py", "a b.py", f"--work-dir={Path.home()}/runs"])
    assert command() == "train.py 'a b.py' '--work-dir=~/runs'"


def test_a_resumed_run_keeps_its_beginning_and_a_test_is_told_beside_it(tmp_path):
    tiny.train(recorded(tmp_path, epochs=2))
    first = read_records(tmp_path)["train"]
    first |= {"started": "2001-01-01T00:00:00+00:00", "seconds": 1000.0}
    (tmp_path / "record.json").write_text(json.dumps({"train": first}))
    tiny.train(recorded(tmp_path, epochs=3), resume=True)
    cfg = recorded(tmp_path, epochs=3, load_from=str(tmp_path / "epoch_3.pth"))
    tested = tiny.Runner.from_cfg(cfg).test()
    records = read_records(tmp_path)
    assert records["train"]["started"].startswith("2001") and 1000 <= records["train"]["seconds"] < 1100
    assert records["train"]["results"]["epoch"] == 3 and "max_epochs=3" in records["train"]["config"]
    assert records["test"]["results"] == {"test": pytest.approx(tested)} and records["test"]["finished"]
    assert records["test"]["data"].keys() == {"test"}


def test_a_run_that_was_stopped_says_so(tmp_path):
    signal = dict(type="SignalHook", at=6, name="SIGTERM")
    with pytest.raises(SystemExit):
        tiny.train(recorded(tmp_path, hooks=(signal,)))
    record = read_records(tmp_path)["train"]
    assert not record["finished"] and record["results"]["epoch"] == 1


# ---- repeating -------------------------------------------------------------------------------------------------------


def test_a_record_is_enough_to_repeat_a_run(two, tmp_path, capsys):
    record = tmp_path / "record.json"  # all that is left of it
    record.write_bytes((two / "slow/record.json").read_bytes())
    main(["runs", "--repeat", str(record), "--work-dir", str(tmp_path / "again")])
    said = capsys.readouterr().out
    assert "the results are the same, to the last digit" in said and "not as it was" not in said
    assert tiny.same_run(two / "slow/epoch_4.pth", tmp_path / "again/epoch_4.pth") == []
    before, now = (read_records(path)["train"] for path in (record, tmp_path / "again"))
    assert now["results"] == before["results"]


def test_what_came_out_differently_is_said(two, tmp_path, capsys):
    records = read_records(two / "slow")
    records["train"]["results"]["last"]["auc"] = -1.0
    records["train"]["data"]["train"]["cases"] = 9
    (tmp_path / "record.json").write_text(json.dumps(records))
    main(["runs", "--repeat", str(tmp_path / "record.json"), "--work-dir", str(tmp_path / "again")])
    said = capsys.readouterr().out
    assert "not as it was: the train cases" in said and "last.auc: -1.0 -> " in said and "the same" not in said


def test_the_config_in_a_record_is_data(tmp_path):
    record = {"config_file": "a.py", "seed": 5}
    text = "model = dict(a=(1, -2.5), b=[None, {'x-y': True}], c='dict(')\nrandomness = dict(seed=None)"
    config = config_of(record | {"config": text}, tmp_path)
    assert config.model == {"a": (1, -2.5), "b": [None, {"x-y": True}], "c": "dict("}
    assert config.randomness.seed == 5 and config.work_dir == str(tmp_path)
    for evil in ("import os", "a = open('x', 'w')", "a = dict(b=dict(**c))", "a = b = 1", "a ="):
        with pytest.raises(ValueError, match="something else than settings"):
            config_of(record | {"config": evil}, tmp_path)


def test_changes_are_named(two):
    before = read_records(two / "slow")["train"]
    now = json.loads(json.dumps(before))
    assert changes(before, now) == []
    now["packages"]["torch"], now["git"] = "0.1", {"commit": "f" * 40}
    code, torch = changes(before, now)
    assert code.endswith("-> ffffffffffff, or what was not committed") and torch.endswith("-> 0.1")


def test_a_fingerprint_follows_cases_and_files_and_not_their_place(tmp_path):
    class Files:
        def __init__(self, folder: str, size: int, label: int = 0):
            path = tmp_path / folder / "a.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"x" * size)
            self.info = {"img_path": str(path), "gt_label": label}

        def __len__(self) -> int:
            return 1

        def get_data_info(self, index: int) -> dict:
            return self.info

    here = fingerprint(Files("here", 3))
    assert here == fingerprint(Files("there", 3)) and here["cases"] == 1
    assert (
        len({here["digest"], fingerprint(Files("here", 4))["digest"], fingerprint(Files("here", 3, 1))["digest"]}) == 3
    )
    assert "digest" not in fingerprint([1, 2])  # a data set that tells nothing of its cases


# ---- the list --------------------------------------------------------------------------------------------------------


def test_runs_are_listed_and_compared(two, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    page = tmp_path / "new/runs.html"
    main(["runs", str(two), "--html", str(page)])
    said = capsys.readouterr().out
    rows = {line.split()[0]: line for line in said.splitlines() if line.strip()}
    best = read_records(two / "fast")["train"]["results"]["best"]["accuracy"]
    assert f"best {best:.4g}" in rows[str(two / "fast")] and "done" in rows[str(two / "fast")]
    assert rows["optim_wrapper.optimizer.lr"].split() == ["optim_wrapper.optimizer.lr", "0.01", "0.05"]
    assert "work_dir" not in rows and "model.type" not in rows
    text = page.read_text()
    assert (
        "optim_wrapper.optimizer.lr" in text
        and "data:image/png;base64," in text
        and "http" not in text.split("</style>")[1]
    )


def test_settings_are_named_in_full_on_a_narrow_screen(two, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    main(["runs", str(two)])
    said = capsys.readouterr().out
    assert "optim_wrapper.optimizer.lr " in said and "…" not in said


def test_scores_can_be_chosen(two, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    main(["runs", str(two / "slow"), "--scores", "auc"])
    said = capsys.readouterr().out
    assert f"last {read_records(two / 'slow')['train']['results']['last']['auc']:.4g}" in said
    assert "differ" not in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give folders"),
        (["runs", "--repeat", "record.json"], "give folders"),
        (["--repeat", "record.json"], "give folders"),
        (["absent"], "absent is no folder"),
        (["empty"], "no record.json below"),
        (["bad"], "is no record of a run"),
        (["--repeat", "tested", "--work-dir", "new"], "tells of a test only"),
        (["--repeat", "trained", "--work-dir", "trained"], "holds a run already"),
    ],
)
def test_a_mistake_is_said_in_a_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    record = {"config": "", "results": {}}
    for folder, text in {"bad": "[1]", "tested": {"test": record}, "trained": {"train": record}}.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "record.json").write_text(text if isinstance(text, str) else json.dumps(text))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as left:
        main(["runs", *words])
    assert left.value.code == 2 and message in capsys.readouterr().err


def test_the_page_does_what_it_says(two, tmp_path, capsys, monkeypatch):
    for source, name in (("slow", "classify"), ("fast", "classify-1")):
        shutil.copytree(two / source, tmp_path / "work_dirs" / name)
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[1] / "docs/runs.md").read_text()
    lines = [line for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    assert len(lines) == 3
    for line in lines:
        main(["runs", *shlex.split(line)[2:]])
    assert "the same, to the last digit" in capsys.readouterr().out
    assert (tmp_path / "work_dirs/runs.html").is_file()
    record = read_records(tmp_path / "work_dirs/classify-again")["train"]
    told = set(re.findall(r"`(\w+)`", page.split("## List")[0])) - {"train", "test", "record"}
    assert told - {"last", "best"} == record.keys() - {"vdt3d"}  # the table of the page is complete
