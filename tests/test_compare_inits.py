"""The comparison of initialisations: arms, the labels they share, runs that are skipped, split up, crash, add up."""

import json
import os
import re
import shutil
import signal
from argparse import Namespace
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import processes
import pytest
import tiny
import torch

from medseg.datasets import write_organs_msd
from vdt3d.cli import compare_inits, jobs, main
from vdt3d.engine.config import read_config
from vdt3d.engine.data import build_dataloader
from vdt3d.experiments.comparison import (
    Run,
    TrainingCases,
    collect,
    configured,
    label_subset,
    read_cases,
    repeated,
    score_of,
    summarise,
    training_cases,
)
from vdt3d.registry import DATASETS, MODELS

ROOT = Path(__file__).resolve().parents[1]
CASES, EPOCHS = 12, 2
STEPS = EPOCHS * CASES // 2  # batches of two


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config whose arm 'pre' starts from a file, and whose arm 'killed' ends at its second step."""
    folder = tmp_path_factory.mktemp("configs")
    hooks = dict(
        checkpoint=dict(type="CheckpointHook", interval=1, save_best="auc"),
        scores=dict(type="ScoresHook"),
        preemption=dict(type="PreemptionHook"),
    )
    config = tiny.config(folder, epochs=EPOCHS, length=CASES, default_hooks=hooks)
    config.dump(folder / "base.py")
    torch.save(MODELS.build(config.model.backbone).state_dict(), folder / "weights.pth")
    inits = {
        "scratch": dict(load_from=None),
        "pre": dict(load_from=str(folder / "weights.pth")),
        "killed": dict(custom_hooks=[dict(type="SignalHook", at=1, name="SIGKILL")]),
        "elsewhere": dict(train_dataloader=dict(dataset=dict(length=8))),
    }
    path = folder / "tiny_family.py"
    path.write_text(f'_base_ = "base.py"\ninits = {inits}\n')
    return path


def compare(config: Path, base: Path, *words: str, arms: str = "scratch pre") -> None:
    """The command, for two arms, half of the labels and all, and one seed, unless ``words`` say otherwise."""
    usual = ["--inits", *arms.split(), "--fractions", "0.5", "1", "--seeds", "0", "--work-dir", str(base)]
    main(["compare", str(config), *usual, *words])


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs write a made-up result instead of training; returns the folders of those that were done."""
    done = []

    def execute(job: compare_inits.Job, *_: object) -> int:
        done.append(job.folder.name)
        cost = dict(score=job.score, steps=STEPS, seconds_per_step=0.1, parameters=10, minutes=1.0)
        said = dict(cases=dict(name=["a", "b"], truth=[0, 1], p1=[0.2, 0.7]), test=dict(auc=1.0), validation=[[6, 0.5]])
        (job.folder / "result.json").write_text(json.dumps({**job.description, **cost, **said}))
        return 0

    monkeypatch.setattr(jobs, "execute", execute)
    monkeypatch.setattr("vdt3d.experiments.comparison.save", lambda figure, path: path.touch())
    return done


# ---- the labels ------------------------------------------------------------------------------------------------------


def cases(groups: list[str], targets: list[int] | None = None) -> TrainingCases:
    return TrainingCases(groups, None if targets is None else np.array(targets))


def singles(*targets: int) -> TrainingCases:
    return cases([f"patient {number}" for number in range(len(targets))], list(targets))


def test_a_smaller_share_is_the_beginning_of_a_larger_one():
    many = singles(*[0] * 30, *[1] * 10)
    shares = [label_subset(many, fraction, seed=3) for fraction in (0.1, 0.25, 0.6, 1.0)]
    assert [len(share) for share in shares] == [4, 10, 24, 40]
    for small, large in pairwise(shares):
        assert large[: len(small)] == small
    assert sorted(shares[-1]) == list(range(40))
    assert label_subset(many, 0.25, seed=3) == shares[1] != label_subset(many, 0.25, seed=4)


def test_classes_are_drawn_in_proportion():
    # Of 20 and 4 cases, in the order of their places 0, 1/20, 2/20, ... and 0, 1/4, ...: five and one come first.
    drawn = label_subset(singles(*[0] * 20, *[1] * 4), 0.25, seed=0)
    assert sum(place >= 20 for place in drawn) == 1 and len(drawn) == 6
    assert {place >= 20 for place in drawn[:2]} == {True, False}


def test_every_class_has_a_case_however_small_the_share():
    assert len(label_subset(singles(*[0] * 98, 1, 2), 0.01, seed=0)) == 3
    assert len(label_subset(cases([f"p{n}" for n in range(100)]), 0.001, seed=0)) == 1


def test_a_class_that_is_only_in_mixed_groups_is_there_too():
    # Class 0 is never the highest of its group: the only group with it must come, whatever the share.
    mixed = cases(["a", "a", "b", "c", "d"], [0, 2, 1, 1, 1])
    assert {0, 1} < set(label_subset(mixed, 0.2, seed=0))


def test_a_patient_comes_whole():
    patients = cases([f"p{number // 3}" for number in range(30)])
    assert len(label_subset(patients, 0.1, seed=0)) == 3
    drawn = label_subset(patients, 0.2, seed=1)
    assert len(drawn) == 6
    assert drawn[:3] == list(range(drawn[0], drawn[0] + 3)) and drawn[0] % 3 == 0


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1])
def test_a_share_is_a_share(fraction: float):
    with pytest.raises(ValueError, match="more than 0 and at most 1"):
        label_subset(singles(0, 1), fraction, seed=0)


def test_few_cases_are_repeated_to_the_length_of_all():
    assert repeated([3, 1], 5, by_epoch=True) == [3, 1, 3, 1, 3]
    assert repeated([3, 1], 5, by_epoch=False) == [3, 1, 3, 1, 3, 1]
    assert repeated([3, 1], 2, by_epoch=True) == [3, 1]


def test_a_run_trains_on_its_cases_as_long_as_on_all(family: Path):
    config = read_config(family)
    known = training_cases(config)
    assert known.targets.tolist() == [0, 1] * 6
    subset = label_subset(known, 0.25, seed=0)
    indices = repeated(subset, CASES, by_epoch=True)
    of_run = configured(config, Path("run"), seed=7, indices=indices)
    loader = build_dataloader(**of_run.train_dataloader, seed=0)
    dataset = loader.dataset.dataset
    assert [dataset.get_data_info(place)["index"] for place in range(len(dataset))] == subset * 4
    assert len(loader) == CASES // 2
    assert (of_run.randomness.seed, of_run.resume) == (7, True)
    assert (of_run.work_dir, of_run.test_evaluator.out) == ("run", str(Path("run/cases.csv")))
    assert "indices" not in config.train_dataloader.dataset  # the config given is left alone


def test_of_slice_windows_it_is_the_cases_that_are_chosen(tmp_path: Path):
    """Five patients of the likeness of the GI tract challenge, a scan of four slices each; fold 0 holds out one."""
    config = read_config(ROOT / "configs/debug/segment_slices.py")
    make = {"cases": 5, "days": 1, "slices": 4, "side": 16}
    config.merge_from_dict({"train_dataloader.dataset.dataset": {"data_root": str(tmp_path / "gi"), "make": make}})
    config.test_evaluator = dict(type="SegmentationScores")
    known = training_cases(config)
    assert len(known.groups) == len(set(known.groups)) == 4
    of_run = configured(config, Path("run"), seed=0, indices=[2, 2])
    dataset = DATASETS.build(of_run.train_dataloader.dataset)
    assert len(dataset) == 2 * 4
    assert {dataset.read(index).name.partition("_")[0] for index in range(8)} == {known.groups[2]}


# ---- the runs --------------------------------------------------------------------------------------------------------


def test_two_arms_from_start_to_end(family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(jobs, "execute", lambda job, *_: job.run() or 0)
    compare(family, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [(line["arm"], line["fraction"], line["labels"]) for line in lines] == [
        *(("scratch", 0.5, 6), ("pre", 0.5, 6), ("scratch", 1.0, 12), ("pre", 1.0, 12))
    ]
    for line in lines:
        assert line["steps"] == STEPS
        assert [step for step, _ in line["validation"]] == [STEPS // 2, STEPS]
        assert line["seconds_per_step"] > 0
        assert line["parameters"] == 8 * 27 + 8 + 16 + 16 + 2  # convolution with bias, norm, head
        assert line["cases"]["name"] == [f"case {number}" for number in range(7)]
        assert set(line["cases"]) == {"name", "group", "truth", "p1"}
    half, other = (json.loads((tmp_path / f"{arm}-0.5-0/run.json").read_text()) for arm in ("scratch", "pre"))
    assert half["cases"] == other["cases"]
    assert other["weights"].endswith("weights.pth") and half["weights"] is None
    (log,) = (tmp_path / "pre-0.5-0").glob("*/*.log")
    assert "7 of 9 tensors filled" in log.read_text()  # all but the head's two
    for name in ("learning_curves.png", "annotation_saving.png"):
        assert (tmp_path / name).stat().st_size > 10_000
    assert pd.read_csv(tmp_path / "table.csv").runs.tolist() == [1] * 4
    said = capsys.readouterr().out
    assert "run 4 of 4: pre, 100 % of the labels, seed 0, about 1 min left" in said
    assert (tmp_path / "table.md").read_text().splitlines()[0] in said

    # A run whose test was lost goes on at the end of its training.
    (tmp_path / "pre-1-0/result.json").unlink()
    monkeypatch.setattr("vdt3d.experiments.comparison.save", lambda figure, path: None)  # they are drawn already
    compare(family, tmp_path)
    again = json.loads((tmp_path / "pre-1-0/result.json").read_text())
    assert again["cases"] == lines[-1]["cases"] and again["validation"] == lines[-1]["validation"]
    assert again["seconds_per_step"] == lines[-1]["seconds_per_step"]  # not a step was done


def test_runs_with_a_result_are_skipped(family: Path, tmp_path: Path, pretended: list[str], capsys):
    compare(family, tmp_path)
    assert pretended == ["scratch-0.5-0", "pre-0.5-0", "scratch-1-0", "pre-1-0"]
    pretended.clear()
    compare(family, tmp_path, "--seeds", "1", "0", "1")
    assert pretended == ["scratch-0.5-1", "pre-0.5-1", "scratch-1-1", "pre-1-1"]
    assert "4 of 8 runs are done already" in capsys.readouterr().out


def test_shards_share_the_runs_and_the_last_sums_up(family: Path, tmp_path: Path, pretended: list[str], capsys):
    compare(family, tmp_path, "--shard", "0/2")
    assert pretended == ["scratch-0.5-0", "scratch-1-0"]
    assert "2 of 4 runs have no result yet" in capsys.readouterr().out
    assert not (tmp_path / "table.md").exists()
    compare(family, tmp_path, "--shard", "1/2")
    assert pretended[2:] == ["pre-0.5-0", "pre-1-0"]
    assert (tmp_path / "table.md").exists()


def test_a_process_of_torchrun_takes_its_shard(family: Path, tmp_path: Path, pretended: list[str], monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    compare(family, tmp_path)
    assert pretended == ["pre-0.5-0"]


def test_what_is_there_can_be_summed_up(family: Path, tmp_path: Path, pretended: list[str], capsys):
    compare(family, tmp_path, "--shard", "0/2")
    compare(family, tmp_path, "--summarise")
    assert len(pretended) == 2
    assert pd.read_csv(tmp_path / "table.csv").arm.tolist() == ["scratch", "scratch"]
    assert "2 of 4 runs have no result yet" in capsys.readouterr().out


def test_a_crash_of_one_stops_no_other(family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(jobs, "CONTEXT", processes._CONTEXT)
    with pytest.raises(SystemExit) as left:
        compare(family, tmp_path, "--fractions", "1", arms="killed scratch")
    assert left.value.code == 1
    said = capsys.readouterr().out
    assert "failed with exit code -9" in said
    assert "killed, 100 % of the labels, seed 0" in said.partition("these failed")[2]
    assert (tmp_path / "scratch-1-0/result.json").exists()
    assert not (tmp_path / "table.md").exists()


@pytest.mark.parametrize("code", [143, -15])
def test_a_run_that_was_asked_to_stop_stops_the_rest(
    code: int, family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    began = []
    monkeypatch.setattr(jobs, "execute", lambda job, *_: began.append(job) or code)
    with pytest.raises(SystemExit) as left:
        compare(family, tmp_path)
    assert (left.value.code, len(began)) == (143, 1)


def test_a_folder_of_other_runs_is_refused(family: Path, tmp_path: Path, pretended: list[str], capsys):
    compare(family, tmp_path)
    pretended.clear()
    with pytest.raises(SystemExit):
        compare(family, tmp_path, "--cfg-options", "optim_wrapper.optimizer.lr=0.5")
    assert "scratch-0.5-0 holds a run that differs in digest" in capsys.readouterr().err
    other = shutil.copy(family.parent / "weights.pth", tmp_path / "other.pth")
    with pytest.raises(SystemExit):
        compare(family, tmp_path, "--weights", f"pre={other}")
    assert "differs in digest, weights" in capsys.readouterr().err
    with pytest.raises(SystemExit):  # other test cases
        compare(family, tmp_path, "--cfg-options", "test_dataloader.dataset.length=4")
    assert "differs in digest, data" in capsys.readouterr().err
    assert not pretended


def two_sets(family: Path) -> list[str]:
    return ["--inits", "scratch", "elsewhere"]


def no_score(family: Path) -> list[str]:
    return ["--cfg-options", "default_hooks.checkpoint.save_best=log_loss"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--inits", "scratch", "i3d"],
            "'i3d' of tiny_family.py; there are scratch, pre, killed, elsewhere",
        ),
        (["--weights", "pre=nowhere.pth"], "pre starts from nowhere.pth, which is not there"),
        (["--weights", "pre=zoo:nowhere"], "no weights 'nowhere' in the zoo"),
        (["--weights", "nowhere.pth"], "wanted ARM=FILE"),
        (["--cfg-options", "init=pre"], "init=pre"),
        (["--shard", "2/2"], "wanted I/N with I from 0 to N - 1"),
        (["--fractions", "40"], "more than 0 and at most 1, got 40.0"),
        (["--summarise"], "found no results"),
        (two_sets, "elsewhere and scratch differ in train_dataloader"),
        (no_score, "save_best='log_loss' chooses checkpoints"),
        (["--cfg-options", "train_dataloader.dataset.indices=3"], "has indices, which a comparison sets itself"),
        (["--cfg-options", "test_evaluator.type=Accuracy"], "test_evaluator is Accuracy; to pair arms it must be"),
    ],
)
def test_a_mistake_is_said_before_anything_is_trained(
    words: list[str] | Callable, message: str, family: Path, tmp_path: Path, pretended: list[str], capsys
):
    with pytest.raises(SystemExit) as left:
        compare(family, tmp_path, *(words(family) if callable(words) else words))
    assert left.value.code == 2
    assert message in capsys.readouterr().err
    assert not pretended


def test_a_config_of_ones_own_is_compared_without_a_table(tmp_path: Path, pretended: list[str], monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vdt3d.experiments.comparison.summarise", lambda results, base: "")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    write_organs_msd(tmp_path / "my_task", cases=5)
    config = re.search(r"```python\n(.*?)```", (ROOT / "docs/segmentation.md").read_text(), re.DOTALL).group(1)
    assert "inits" not in config
    (tmp_path / "my_segmentation.py").write_text(config)
    (tmp_path / "flat.pth").touch()
    words = ["--weights", "i3d=flat.pth", "acs=flat.pth", "--fractions", "1"]
    options = [f"{split}_dataloader.dataset.prepared=none" for split in ("train", "val", "test")]
    compare(Path("my_segmentation.py"), tmp_path / "runs", *words, "--cfg-options", *options, arms="scratch i3d acs")
    assert pretended == ["scratch-1-0", "i3d-1-0", "acs-1-0"]
    runs = [json.loads((tmp_path / f"runs/{name}/run.json").read_text()) for name in pretended]
    assert [run["weights"] for run in runs] == [None, "flat.pth", "flat.pth"]
    assert len({run["digest"] for run in runs}) == 3


def test_sigterm_is_passed_on_and_the_handler_put_back(monkeypatch: pytest.MonkeyPatch):
    told = []

    class Process:
        exitcode = 143

        def __init__(self, target: Callable, args: tuple):
            self.start = lambda: None
            self.terminate = lambda: told.append("terminate")

        def join(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(jobs, "CONTEXT", Namespace(Process=Process))
    before = signal.getsignal(signal.SIGTERM)
    assert jobs.execute(Namespace(run=None), "compare", False) == 143
    assert told == ["terminate"]
    assert signal.getsignal(signal.SIGTERM) is before


# ---- what they leave behind ------------------------------------------------------------------------------------------


def test_cases_of_a_segmentation_are_means_over_their_labels(tmp_path: Path):
    path = tmp_path / "cases.json"
    content = {"a": {"liver": {"dice": 0.9}, "tumour": {"dice": 0.5}}, "b": {"liver": {"dice": 0.8}}}
    content["b"]["tumour"] = {"dice": None}  # in neither map
    content["c"] = {"liver": {"dice": None}, "tumour": {"dice": None}}
    path.write_text(json.dumps({"cases": content, "groups": {"a": "0e1", "b": "12", "c": "12"}}))
    cases = {"name": ["a", "b", "c"], "score": [0.7, 0.8, None], "group": ["0e1", "12", "12"]}
    assert read_cases(path, "dice") == cases


def test_cases_of_a_classification_keep_their_probabilities(tmp_path: Path):
    path = tmp_path / "cases.csv"
    path.write_text("name,truth,p0,p1,group\n007,1,0.25,0.75,12\nNA,0,0.5,0.5,0e1\n")
    cases = {"name": ["007", "NA"], "truth": [1, 0], "p1": [0.75, 0.5], "group": ["12", "0e1"]}
    assert read_cases(path, "auc") == cases
    path.write_text("name,truth,p0,p1,p2\na,1,0.25,0.5,0.25\n")
    assert read_cases(path, "auc") == {"name": ["a"], "truth": [1], "p0": [0.25], "p1": [0.5], "p2": [0.25]}


def test_results_of_two_scores_are_not_mixed(tmp_path: Path):
    with pytest.raises(ValueError, match=r"results of one score are summed up, found \['auc', 'dice'\]"):
        summarise([{"score": "dice"}, {"score": "auc"}], tmp_path)


def test_results_and_missing_runs_are_told_apart(tmp_path: Path):
    here, missing = Run("vdt", 0.1, 0), Run("vdt", 0.1, 1)
    here.folder(tmp_path).mkdir()
    (here.folder(tmp_path) / "result.json").write_text('{"score": "dice"}')
    assert collect([here, missing], tmp_path) == ([{"score": "dice"}], [missing])


@pytest.mark.parametrize("path", ["msd/resnet3d-18w16-unet_scratch_1xb2-cos-4k_hippocampus", "debug/segment"])
def test_segmentations_are_compared_by_dice(path: str):
    assert score_of(read_config(ROOT / f"configs/{path}.py")) == "dice"
