"""Learning by heart: a sound config does, and of the others the evidence names what is wrong."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tiny
from mmengine.config import Config
from torch import nn

from vdt3d.cli import main
from vdt3d.engine.config import read_config
from vdt3d.experiments.overfit import (
    Evidence,
    calm,
    diagnose,
    handful,
    mastery,
    neighbour_agreement,
    overfit,
    without_augmentation,
    without_dropout,
)
from vdt3d.registry import DATASETS
from vdt3d.utils.random import stream

SOUND = dict(losses=[1.0] * 10 + [0.01] * 90, scores=[0.5], trainable=10, moved=10)


@DATASETS.register_module()
class FlickeringVolumes(tiny.TinyVolumes):
    """The same volumes, with another label whenever they are read."""

    def prepare_data(self, idx: int) -> dict:
        data = super().prepare_data(idx)
        data["data_samples"].set_gt_label(int(stream("label").integers(2)))
        return data


@DATASETS.register_module()
class LopsidedVolumes(tiny.TinyVolumes):
    """Five of the first class, then one of the second."""

    def load_data_list(self) -> list[dict]:
        return [{"index": index, "gt_label": int(index == 5)} for index in range(6)]


def config(folder: Path, **changes) -> Config:
    """The tiny config without noise in its inputs."""
    found = tiny.config(folder, norm="GN", batch_size=2, **changes)
    found.train_dataloader.dataset.noise = 0.0
    return found


# ---- what the evidence says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("evidence", "word"),
    [
        (dict(trainable=0), "frozen: no parameter may be trained"),
        (dict(moved=0), "frozen: no parameter changed"),
        (dict(still=["backbone"]), "frozen: nothing changed in backbone"),
        (dict(losses=[1.0, 2.0, math.nan]), "rate: the loss was no number at step 3"),
        (dict(contradictions=["a", "b"]), "labels: the same input came with different labels: a, b"),
        (dict(agreement=0.1), "labels: only 10% of neighbours agree"),
        (dict(mean=80.0, std=70.0), "inputs: their mean is 80"),
        (dict(std=0.001), "inputs: their mean is 0 and their standard deviation 0.001"),
        (dict(scores=[0.5, 0.91, math.nan]), "steps: the loss went from 1 to 0.01, and the score came to 0.91"),
        (dict(), "labels or scores: the loss went from 1 to 0.01, yet the score is 0.5"),
        (dict(losses=[1.0] + [0.5] * 99), "rate or steps: the loss went from 1 to 0.5"),
        (dict(losses=[1.0] * 100), "loss or rate: the loss went from 1 to 1"),
    ],
)
def test_the_evidence_is_named(evidence: dict, word: str):
    assert diagnose(Evidence(**(SOUND | evidence)))[0].startswith(word)


def test_what_was_learned_needs_no_advice():
    assert diagnose(Evidence(**(SOUND | dict(scores=[0.2, 0.99], mean=80.0)))) == []
    assert diagnose(Evidence(**(SOUND | dict(scores=[0.98])))) != []  # more than that is asked


def test_mastery_is_one_at_best():
    assert mastery({"accuracy": 1.0, "log_loss": math.log(2)}) == ("mean probability of the truth", pytest.approx(0.5))
    assert mastery({"iou": 0.3, "dice": 0.5}) == ("dice", 0.5)
    assert mastery({"accuracy/top1": 50.0}) == ("accuracy/top1", 0.5)
    with pytest.raises(ValueError, match="none tells"):
        mastery({"hd95": 3.0})


def test_neighbours_agree_in_objects_and_not_in_noise():
    # Pairs along the line: 0-1, 1-1 and 1-0 hold a label, of which one agrees; 0-0 does not count.
    assert neighbour_agreement(np.array([0, 1, 1, 0, 0])) == pytest.approx(1 / 3)
    assert math.isnan(neighbour_agreement(np.zeros((2, 2, 2), int)))
    block = np.zeros((12, 12, 12), int)
    block[2:10, 2:10, 2:10] = 1  # along each axis 8 x 8 lines of 7 pairs that agree and 2 that do not
    assert neighbour_agreement(block) == pytest.approx(7 / 9)
    shuffled = np.random.default_rng(0).permutation(block.ravel()).reshape(block.shape)
    assert neighbour_agreement(shuffled) < 0.3


# ---- what is left out ------------------------------------------------------------------------------------------------


def test_random_transforms_go_but_those_that_settle_a_size():
    pipeline = [
        dict(type="ZScore"),
        dict(type="RandomZCrop", depth=32),
        dict(type="RandomSpatial3D", rotate=30),
        dict(type="RandomSpatial3D", rotate=30, size=(8, 8, 8)),
        dict(type="RandomPatch3D", size=(8, 8, 8), foreground=0.5),
        dict(type="RandomShiftCrop3D", size=48, shift=5),
        dict(type="RandomFlip3D", axes="W"),
        dict(type="RandomGamma3D"),
        dict(type="PackSegmentation"),
    ]
    assert without_augmentation(pipeline) == [
        dict(type="ZScore"),
        dict(type="RandomZCrop", depth=32),
        dict(type="RandomSpatial3D", rotate=30, size=(8, 8, 8), rotate_prob=0, scale_prob=0, elastic_prob=0),
        dict(type="RandomPatch3D", size=(8, 8, 8), foreground=0.5),
        dict(type="RandomShiftCrop3D", size=48, shift=0),
        dict(type="PackSegmentation"),
    ]


def test_nothing_is_dropped():
    class Path(nn.Module):
        drop_prob = None

        def __init__(self):
            super().__init__()
            self.drop_prob = 0.3

    attention = nn.MultiheadAttention(4, 2, dropout=0.5)
    model = nn.Sequential(nn.Dropout(0.5), nn.Dropout3d(0.5), Path(), attention)
    without_dropout(model)
    assert [model[0].p, model[1].p, model[2].drop_prob, attention.dropout] == [0, 0, 0, 0]


def test_each_class_has_its_turn(tmp_path: Path):
    settings = dict(type="LopsidedVolumes")
    assert handful(settings, 2, "place")["indices"] == [0, 5]
    assert handful(settings, 4, "place")["indices"] == [0, 1, 2, 5]
    assert handful(dict(settings, indices=[4, 5, 1]), 2, "place")["indices"] == [4, 5]
    with pytest.raises(ValueError, match="6 cases to learn, fewer than 7"):
        handful(settings, 7, "place")


def test_scans_are_scored_whole_and_learned_in_patches():
    config = read_config(Path(__file__).parents[1] / "configs/debug/segment_slices.py")
    config.work_dir = "somewhere"
    config.train_dataloader.dataset.dataset.update(type="LopsidedVolumes", _scope_="vdt3d")
    for key in ("data_root", "make", "fold", "split"):
        config.train_dataloader.dataset.dataset.pop(key)
    quiet = calm(config, cases=2, steps=50)
    windows, scans = quiet.train_dataloader.dataset, quiet.val_dataloader.dataset
    assert windows.type == "SliceWindows" and windows.dataset.indices == scans.indices == [0, 5]
    assert [step.type for step in windows.pipeline] == ["Percentile3D", "RandomPatch3D", "PackSegmentation"]
    assert scans.whole_scans and scans.pipeline == config.val_dataloader.dataset.pipeline
    assert "whole_scans" not in windows.dataset and quiet.train_dataloader.batch_size == 2
    assert quiet.train_cfg == dict(by_epoch=False, max_iters=50, val_interval=5)


# ---- runs ------------------------------------------------------------------------------------------------------------


def test_a_sound_config_learns_by_heart(tmp_path: Path):
    name, seen = overfit(config(tmp_path), cases=2, steps=300)
    assert seen.learned and name == "mean probability of the truth"
    assert seen.moved == seen.trainable and not seen.still and len(seen.losses) < 300  # it stops as soon as it can
    told = json.loads((tmp_path / "overfit.json").read_text())
    assert told["learned"] and told["advice"] == [] and told["score"] == seen.score
    assert not list(tmp_path.rglob("*.pth"))


def test_labels_that_change_are_named(tmp_path: Path):
    flickering = config(tmp_path)
    flickering.train_dataloader.dataset.type = "FlickeringVolumes"
    _, seen = overfit(flickering, cases=4, steps=30)
    assert not seen.learned and seen.contradictions
    assert any(line.startswith("labels: the same input") for line in diagnose(seen))


def test_a_frozen_model_is_named(tmp_path: Path):
    still = config(tmp_path / "lr", optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.0)))
    _, seen = overfit(still, steps=10)
    assert seen.moved == 0 and diagnose(seen)[0].startswith("frozen: no parameter changed")

    slow = dict(optimizer=dict(type="SGD", lr=1e-3), paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.0))))
    _, seen = overfit(config(tmp_path / "part", optim_wrapper=slow), steps=10)
    assert seen.still == ["backbone"]


def test_a_rate_that_diverges_is_named(tmp_path: Path):
    wild = config(tmp_path, optim_wrapper=dict(optimizer=dict(type="SGD", lr=1e30)))
    _, seen = overfit(wild, steps=50)
    assert len(seen.losses) < 50 and diagnose(seen)[0].startswith("rate: the loss was no number")


def test_the_command_exits_with_what_came_of_it(tmp_path: Path, capsys: pytest.CaptureFixture):
    path = tmp_path / "tiny_config.py"
    config(tmp_path).dump(path)
    words = ["overfit", str(path), "--work-dir", str(tmp_path / "run"), "--steps"]
    main([*words, "300"])
    assert capsys.readouterr().out.startswith("learned by heart: mean probability of the truth 0.9")
    with pytest.raises(SystemExit, match="1"):
        main([*words, "2", "--cfg-options", "optim_wrapper.optimizer.lr=0"])
    assert "not learned by heart" in (said := capsys.readouterr().out) and "- frozen" in said
    with pytest.raises(SystemExit, match="2"):
        main([*words, "0"])


def test_the_config_is_left_as_it_was(tmp_path: Path):
    original = config(tmp_path)
    text = original.pretty_text
    overfit(original, steps=2)
    assert original.pretty_text == text
