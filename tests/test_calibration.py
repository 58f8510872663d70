"""Calibration: errors by hand, the temperature that made answers too sure, and the command for both tasks."""

import json
from pathlib import Path

import numpy as np
import overlapping
import pytest
import tiny
import torch
from mmengine.config import Config
from scipy.special import softmax

from vdt3d.cli import main
from vdt3d.evaluation import calibration_scores, fit_temperature, reliability
from vdt3d.registry import DATASETS
from vdt3d.visualization import reliability_diagram

# Two answers given with .9, one of them wrong; two with .6, both right.
SAID, TRUTH = np.array([[0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.4, 0.6]]), np.array([0, 0, 0, 1])


@DATASETS.register_module()
class MislabelledVolumes(tiny.TinyVolumes):
    """Every fifth case has the other label, so nobody may be sure of more than 80 %."""

    def prepare_data(self, idx: int) -> dict:
        packed = super().prepare_data(idx)
        packed["data_samples"].set_gt_label(idx % 2 if idx % 5 else 1 - idx % 2)
        return packed


def test_errors_by_hand():
    found = calibration_scores(SAID, TRUTH, bins=10)
    assert found["ece"] == pytest.approx((0.4 * 2 + 0.4 * 2) / 4)  # |.9 - 1/2| and |.6 - 1|
    assert found["brier"] == pytest.approx((0.02 + 1.62 + 0.32 + 0.32) / 4)
    assert found["accuracy"] == 0.75 and found["confidence"] == pytest.approx(0.75)
    assert calibration_scores(SAID, TRUTH, bins=1)["ece"] == pytest.approx(0)  # all together, .75 and 3 of 4
    curve = reliability(SAID, TRUTH, bins=2, equal_mass=True)
    assert (curve.confidence.tolist(), curve.accuracy.tolist(), curve.count.tolist()) == ([0.6, 0.9], [1, 0.5], [2, 2])


def test_an_end_of_a_bin_belongs_to_the_bin_below():
    curve = reliability(np.array([[0.5, 0.5], [0.25, 0.75], [0.2, 0.8]]), np.array([0, 1, 1]), bins=4)
    assert curve.count.tolist() == [1, 1, 1]  # (.25, .5], (.5, .75], (.75, 1]


def test_the_temperature_that_made_answers_too_sure_is_found():
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=1.5, size=(4000, 3))
    truth = np.array([rng.choice(3, p=row) for row in softmax(logits, axis=1)])
    found = fit_temperature(3 * logits, truth)
    assert found == pytest.approx(3, rel=0.1)
    before, after = (calibration_scores(softmax(3 * logits / t, axis=1), truth) for t in (1, found))
    assert after["ece"] < 0.03 < 0.1 < before["ece"] and after["log_loss"] < before["log_loss"]
    assert after["accuracy"] == before["accuracy"]


def test_a_temperature_by_hand():
    # Answers with odds of 9 : 1, of which three in four are right, want odds of 3 : 1: T = log 9 / log 3 = 2.
    logits = np.log([[9.0, 1.0]] * 4)
    assert fit_temperature(logits, np.array([0, 0, 0, 1])) == pytest.approx(2, rel=1e-4)


@pytest.mark.parametrize(("truth", "message"), [([0, 0], "every answer is right"), ([1, 1], "no better than guessed")])
def test_answers_that_tell_no_temperature(truth, message):
    with pytest.raises(ValueError, match=message):
        fit_temperature(np.array([[2.0, 0.0], [1.0, 0.0]]), np.array(truth))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="bins=0"):
        reliability(SAID, TRUTH, bins=0)
    with pytest.raises(ValueError, match="diverged"):
        fit_temperature(np.array([[np.nan, 0.0]]), np.array([0]))
    with pytest.raises(ValueError, match="no curves"):
        reliability_diagram({})


# ---- the command -----------------------------------------------------------------------------------------------------


def noisy_labels(work_dir: Path, **changes) -> Config:
    """What validates and tests on labels of which a fifth is wrong."""
    loader = tiny.loader(False, 40, 8, 0)
    loader["dataset"]["type"] = "MislabelledVolumes"
    return tiny.config(work_dir, val_dataloader=loader, test_dataloader=loader, custom_imports=None, **changes)


def calibrated(folder: Path, cfg: Config, *words: str) -> dict:
    folder.mkdir(exist_ok=True)
    cfg.dump(folder / "config.py")
    main(["calibrate", str(folder / "config.py"), *words, "--out", str(folder / "new")])
    assert sorted(path.name for path in (folder / "new").iterdir()) == ["reliability.png", "temperature.json"]
    return json.loads((folder / "new/temperature.json").read_text())


def test_a_classifier_is_calibrated_and_the_config_applies_it(tmp_path, capsys):
    tiny.train(tiny.config(tmp_path / "run", epochs=3, norm="GN"))
    cfg = noisy_labels(tmp_path / "test", norm="GN")
    checkpoint = str(tmp_path / "run/epoch_3.pth")
    found = calibrated(tmp_path / "one", cfg, checkpoint)
    assert found["fitted_on"] == found["tested_on"] == {"cases": 40, "answers": 40}
    assert found["after"]["log_loss"] < found["before"]["log_loss"]
    assert not (tmp_path / "test/scores.jsonl").exists()
    assert f"temperature={found['temperature']:.4f}" in capsys.readouterr().out

    option = f"model.test_cfg.inferer.temperature={found['temperature']}"
    command = ["test", str(tmp_path / "one/config.py"), checkpoint, "--out"]
    scores = {}
    for when, words in {"before": [], "after": ["--cfg-options", option]}.items():
        out = tmp_path / f"{when}.json"
        main([*command, str(out), *words])
        scores[when] = json.loads(out.read_text())
        assert scores[when]["log_loss"] == pytest.approx(found[when]["log_loss"], rel=1e-4)
    assert scores["before"]["auc"] == scores["after"]["auc"]
    assert calibrated(tmp_path / "two", cfg, checkpoint, "--cfg-options", option) == found  # it replaces, not adds


def test_a_segmentor_is_calibrated_voxel_by_voxel(tmp_path):
    found = {}
    for scale in (1.0, 4.0):
        path = tmp_path / f"{scale}.pth"
        torch.save({"state_dict": {"backbone.weight": torch.tensor([scale])}}, path)
        cfg = overlapping.config(tmp_path / "run", test_dataloader=overlapping.loader(cases=5))
        found[scale] = calibrated(tmp_path / str(scale), cfg, str(path))
    # 4 x 6 x 8 voxels, all of which are drawn, and two regions; the network's grid is finer and does not count.
    assert found[1.0]["fitted_on"] == {"cases": 3, "answers": 3 * 192 * 2}
    assert found[4.0]["temperature"] == pytest.approx(4 * found[1.0]["temperature"], rel=1e-3)
    assert found[4.0]["after"]["ece"] < found[4.0]["before"]["ece"]


def test_what_cannot_be_calibrated_is_said_in_a_line(tmp_path, capsys):
    cfg = overlapping.config(tmp_path / "run", val_dataloader=None, val_cfg=None, val_evaluator=None)
    with pytest.raises(SystemExit) as left:
        calibrated(tmp_path, cfg, str(overlapping.checkpoint(tmp_path / "a.pth")))
    assert left.value.code == 2 and "has no val_dataloader" in capsys.readouterr().err
