"""Cross-validation: every case is held out once, its patient with it, and what is pooled is worked out by hand."""

import json
import math
import pickle
from argparse import Namespace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
from mmengine.config import Config

from vdt3d.cli import jobs, kfold, main
from vdt3d.experiments.folds import dealt, fold_configs, pool, use_of_held_out
from vdt3d.registry import DATASETS

CASES = 12


@DATASETS.register_module()
class PairedVolumes(tiny.TinyVolumes):
    """Two cases of each patient, of both classes."""

    def load_data_list(self) -> list[dict]:
        return [case | {"group": f"patient {case['index'] // 2}"} for case in super().load_data_list()]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    hooks = dict(checkpoint=dict(type="CheckpointHook", interval=1, save_best="auc"), scores=dict(type="ScoresHook"))
    path = tmp_path / "tiny_config.py"
    tiny.config(tmp_path, epochs=1, length=CASES, default_hooks=hooks).dump(path)
    return path


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Folds are trained here; returns the names of those that were."""
    done = []
    monkeypatch.setattr(jobs, "execute", lambda job, *_: done.append(job.name) or job.run() or 0)
    return done


def segmentation(folder: Path, **settings) -> Config:
    """A config of ten scans in MSD's layout, of which the files are empty: nothing here opens them."""
    names = [f"case_{number}" for number in range(10)]
    for name in names:
        for kind in ("images", "labels"):
            (folder / kind).mkdir(exist_ok=True)
            (folder / kind / f"{name}.nii.gz").touch()
    training = [{"image": f"images/{name}.nii.gz", "label": f"labels/{name}.nii.gz"} for name in names]
    content = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver"}, "training": training, "test": []}
    (folder / "dataset.json").write_text(json.dumps(content))
    dataset = dict(type="VolumeSegmentation", data_root=str(folder), **settings)
    scans = dict(dataset=dict(**dataset, split="val", whole_scans=True, pipeline=[dict(type="PackSegmentation")]))
    return Config(
        dict(
            train_dataloader=dict(dataset=dict(**dataset, split="train", pipeline=[dict(type="RandomFlip3D")])),
            val_dataloader=scans,
            test_dataloader=scans,
            val_evaluator=dict(type="SegmentationScores"),
            test_evaluator=[dict(type="SegmentationScores")],
            default_hooks=dict(checkpoint=dict(type="CheckpointHook", save_best="dice")),
        )
    )


# ---- who is held out -------------------------------------------------------------------------------------------------


def test_patients_stay_together_and_every_case_is_held_out_once():
    parts = dealt(dict(type="PairedVolumes", length=CASES), 3, "place")
    assert sorted(case for _, out in parts for case in out) == list(range(CASES))
    for rest, out in parts:
        assert sorted(rest + out) == list(range(CASES)) and len(out) == 4  # two of six patients
        assert not {case // 2 for case in rest} & {case // 2 for case in out}


def test_cases_that_were_chosen_before_are_dealt_out():
    parts = dealt(dict(type="TinyVolumes", length=CASES, indices=[1, 3, 4, 8]), 2, "place")
    assert sorted(case for _, out in parts for case in out) == [1, 3, 4, 8]
    with pytest.raises(ValueError, match="6 groups of cases, fewer than --folds 7"):
        dealt(dict(type="PairedVolumes", length=CASES), 7, "place")


def test_segmentation_sets_divide_themselves(tmp_path: Path):
    configs = fold_configs(segmentation(tmp_path), 5, tmp_path / "runs")
    held_out = []
    for number, one in enumerate(configs):
        assert one.work_dir == str(tmp_path / f"runs/fold{number}") and one.resume
        settings = [one[f"{split}_dataloader"].dataset | {"serialize_data": False} for split in ("train", "test")]
        train, test = map(DATASETS.build, settings)
        names = [{dataset.get_data_info(i)["name"] for i in range(len(dataset))} for dataset in (train, test)]
        assert not names[0] & names[1] and len(names[0] | names[1]) == 10
        assert test.whole_scans and one.test_dataloader == one.val_dataloader
        assert one.default_hooks.checkpoint.save_best is None  # which would choose by the cases held out
        assert one.test_evaluator[0].out == str(tmp_path / f"runs/fold{number}/cases.json")
        held_out.append(names[1])
    assert len(set.union(*held_out)) == 10 and not any(a & b for a, b in combinations(held_out, 2))


def test_a_split_file_of_one_division_is_refused(tmp_path: Path):
    names = [f"case_{number}" for number in range(10)]
    (tmp_path / "once.json").write_text(json.dumps({"train": names[:8], "val": names[8:]}))
    with pytest.raises(ValueError, match=r"'case_8' is held out in the folds 0 and 1: the split file .*once.json"):
        fold_configs(segmentation(tmp_path, split_file="once.json"), 5, tmp_path)
    folds = [{"train": names[:5], "val": names[5:]}, {"train": names[5:], "val": names[:5]}]
    (tmp_path / "twice.json").write_text(json.dumps(folds))
    _, other = fold_configs(segmentation(tmp_path, split_file="twice.json"), 2, tmp_path)
    assert len(DATASETS.build(other.test_dataloader.dataset)) == 5
    with pytest.raises(ValueError, match="two or more"):
        fold_configs(segmentation(tmp_path), 1, tmp_path)


def test_no_threshold_is_chosen_on_the_cases_held_out(tmp_path: Path):
    config = tiny.config(tmp_path, length=CASES, test_evaluator=dict(type="ClassificationScores", threshold="val"))
    one = fold_configs(config, 3, tmp_path)[0]
    assert one.test_evaluator.threshold is None and config.test_evaluator.threshold == "val"


# ---- what is pooled --------------------------------------------------------------------------------------------------


def test_labels_are_pooled_over_cases(tmp_path: Path):
    config = segmentation(tmp_path)
    of_folds = [
        {"a": {"liver": {"dice": 0.8, "iou": 0.6}, "left kidney": {"dice": 0.6, "iou": 0.4}}},
        {"b": {"liver": {"dice": 0.5, "iou": 0.3}, "left kidney": {"dice": None, "iou": None}}},
    ]
    for number, cases in enumerate(of_folds):
        folder = tmp_path / f"fold{number}"
        folder.mkdir()
        content = {"cases": cases, "groups": {name: f"patient {name}" for name in cases}}
        (folder / "cases.json").write_text(json.dumps(content))
        (folder / "cases.csv").write_text(f"case,dice_liver\n{next(iter(cases))},0.5\n")
        (folder / "result.json").write_text(json.dumps({"scores": {"dice": [0.7, 0.5][number], "dice_low": 0.1}}))
    report = pool(config, tmp_path, 2)
    # a: (0.8 + 0.6) / 2 = 0.7, b: 0.5; 0.7 and 0.5 have the mean 0.6 and the deviation 0.1 x sqrt(2).
    assert report["pooled"]["dice"] == pytest.approx(0.6) and report["pooled"]["iou"] == pytest.approx(0.4)
    assert report["pooled"]["dice_liver"] == pytest.approx(0.65)
    assert report["pooled"]["dice_left_kidney"] == pytest.approx(0.6)
    assert report["mean"] == {"dice": pytest.approx(0.6)} and report["std"]["dice"] == pytest.approx(0.1 * 2**0.5)
    assert pd.read_csv(tmp_path / "out_of_fold.csv").fold.tolist() == [0, 1]
    assert report["complete"] and not pool(config, tmp_path, 3)["complete"]
    assert math.isnan(report["pooled"]["dice_low"])  # two patients show nothing of the spread


def results_of(folder: Path, kind: str, content: str) -> None:
    """The results of one fold, whose cases lie in ``kind``."""
    (folder / "fold0").mkdir()
    (folder / "fold0" / kind).write_text(content)
    (folder / "fold0" / "result.json").write_text(json.dumps({"scores": {"dice": 0.5}}))


def test_pooled_dice_has_an_interval_by_patient(tmp_path: Path):
    # Three patients with a scan of Dice 0.4 and one of 0.8 each: whoever is drawn, the mean is 0.6.
    cases = {f"{patient}{scan}": {"liver": {"dice": dice}} for patient in "abc" for scan, dice in ((0, 0.4), (1, 0.8))}
    content = {"cases": cases, "groups": {name: name[0] for name in cases}}
    results_of(tmp_path, "cases.json", json.dumps(content))
    (tmp_path / "fold0/cases.csv").write_text("case,dice_liver\na0,0.4\n")
    pooled = pool(segmentation(tmp_path), tmp_path, 1)["pooled"]
    assert [pooled[f"dice{end}"] for end in ("", "_low", "_high")] == pytest.approx([0.6] * 3)
    (tmp_path / "fold0/cases.json").write_text(json.dumps(content | {"groups": {name: name for name in cases}}))
    pooled = pool(segmentation(tmp_path), tmp_path, 1)["pooled"]
    assert pooled["dice_liver_low"] < 0.5 and pooled["dice_liver_high"] > 0.7
    (tmp_path / "fold0/cases.json").write_text(json.dumps({"cases": cases}))
    with pytest.raises(ValueError, match=r"cases\.json.*result\.json"):
        pool(segmentation(tmp_path), tmp_path, 1)


def test_pooled_areas_have_an_interval_by_patient(tmp_path: Path):
    # Each of three patients has two scans classified right and two wrong: any three have an accuracy of a half.
    scans = [(0, 0.1), (1, 0.9), (0, 0.8), (1, 0.2)]
    rows = [f"{p}{n},{t},{1 - q},{q},{p}" for p in "abc" for n, (t, q) in enumerate(scans)]
    results_of(tmp_path, "cases.csv", "\n".join(["name,truth,p0,p1,group", *rows]))
    config = tiny.config(tmp_path, length=CASES)
    pooled = pool(config, tmp_path, 1)["pooled"]
    assert pooled["accuracy_low"] == pooled["accuracy"] == pooled["accuracy_high"] == 0.5
    (tmp_path / "fold0/cases.csv").write_text("name,truth,p0,p1\na,0,1,0\n")
    with pytest.raises(ValueError, match=r"cases\.csv.*result\.json"):
        pool(config, tmp_path, 1)


def test_what_follows_the_scores_of_held_out_cases_is_named(tmp_path: Path):
    assert "nothing is chosen" in use_of_held_out(tiny.config(tmp_path))
    stopping = tiny.config(tmp_path, hooks=(dict(type="EarlyStopHook", monitor="auc"),))
    plateau = tiny.config(tmp_path, param_scheduler=dict(type="ReduceOnPlateauLR", monitor="auc"))
    assert "EarlyStopHook" in use_of_held_out(stopping) and "ReduceOnPlateauLR" in use_of_held_out(plateau)


def test_nothing_is_pooled_of_nothing(tmp_path: Path):
    with pytest.raises(ValueError, match="no fold has a result"):
        pool(segmentation(tmp_path), tmp_path, 2)


# ---- the command -----------------------------------------------------------------------------------------------------


def test_folds_are_trained_once_and_scored_together(tmp_path: Path, config: Path, in_process, capsys):
    words = ["kfold", str(config), "--folds", "3", "--work-dir", str(tmp_path / "runs")]
    main([*words, "--fold", "1"])
    assert in_process == ["fold 1"] and "2 of 3 folds have no result yet" in capsys.readouterr().out
    main(words)
    assert in_process == ["fold 1", "fold 0", "fold 2"]
    said = capsys.readouterr().out
    assert "pooled" in said and "accuracy" in said and "held out" in said

    cases = pd.read_csv(tmp_path / "runs/out_of_fold.csv")
    assert len(cases) == CASES and cases.groupby("fold").size().tolist() == [4, 4, 4]
    told = json.loads((tmp_path / "runs/kfold.json").read_text())
    right = (cases.p1 > 0.5) == (cases.truth == 1)
    assert told["pooled"]["accuracy"] == pytest.approx(right.mean()) and "accuracy_low" in told["pooled"]
    accuracies = [fold["accuracy"] for fold in told["folds"].values()]
    assert told["mean"]["accuracy"] == pytest.approx(np.mean(accuracies)) == pytest.approx(right.mean())
    result = json.loads((tmp_path / "runs/fold2/result.json").read_text())
    assert Path(result["checkpoint"]).name == "epoch_1.pth" and not list(tmp_path.rglob("best_*.pth"))

    main([*words, "--summarise"])
    assert len(in_process) == 3
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--cfg-options", "optim_wrapper.optimizer.lr=0.5"])  # the folder holds other runs
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--fold", "3"])


def test_a_job_finds_its_way_to_another_process(tmp_path: Path, config: Path):
    args = Namespace(config=config, cfg_options=["a=1"], work_dir=tmp_path, launcher="none", folds=3)
    job = kfold._job(args, tiny.config(tmp_path), 2, tmp_path)
    assert pickle.loads(pickle.dumps(job.run)).__self__ == job and job.folder == tmp_path / "fold2"
