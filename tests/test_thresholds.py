"""Thresholds of regions: levels and counts by hand, the choice, a survey against single decisions, the command."""

import json
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from overlapping import ORGANS, OverlappingOrgans, checkpoint, config

from medseg.evaluation.thresholds import LEVELS, THRESHOLDS, ThresholdSurvey, choose, levels, threshold_counts
from medseg.models import LabelScheme
from vdt3d.cli import main
from vdt3d.engine import Runner
from vdt3d.evaluation import dice, label_counts
from vdt3d.inference import WholeVolume
from vdt3d.structures import overlapping_regions


def logits(*probabilities: float) -> torch.Tensor:
    return torch.tensor([log(p / (1 - p)) for p in probabilities])


def test_levels_by_hand():
    assert THRESHOLDS[0] == 0.05 and THRESHOLDS[9] == 0.5 and THRESHOLDS[-1] == 0.95 and LEVELS == 20
    # Above 0.05 and 0.10; above 0.05 to 0.45 but not above 0.5 itself; above all; above none.
    one, other = logits(0.12, 0.5, 0.99, 0.01), logits(0.99, 0.01, 0.51, 0.12)
    assert levels(one[None]).tolist() == [2, 9, 19, 0]
    assert levels(torch.stack([one, other])).tolist() == [2 + 20 * 19, 9, 19 + 20 * 10, 20 * 2]
    assert levels(torch.stack([one, other, one]), slice(2, 5)).tolist() == [2, 9, 19, 0]
    assert levels(torch.full((3, 1), 99.0)).item() == 20**3 - 1 < 2**16


def test_counts_by_hand():
    # In the region the levels 0, 2, 19; outside 1, 1 and 3; what nobody knows does not count.
    level, inside = np.array([0, 2, 19, 1, 1, 3, 19]), np.array([True, True, True, False, False, False, False])
    counts = threshold_counts(level, inside, np.arange(7) < 6)
    assert counts[0].tolist() == [2, 3, 1]  # above 0.05: two of three, and all others
    assert counts[1].tolist() == [2, 1, 1]
    assert counts[2].tolist() == [1, 1, 2]
    assert counts[3].tolist() == counts[18].tolist() == [1, 0, 2]
    assert counts.shape == (19, 3)


def flat(value: float, *, at: dict[int, float]) -> np.ndarray:
    """(19, 3) counts whose Dice is ``value`` but ``at`` some steps; of 200 true voxels, and nothing but those seen."""
    counts = np.zeros((19, 3), int)
    for step in range(19):
        both = round(200 * at.get(step, value) / (2 - at.get(step, value)))  # 2 b / (2 b + 200 - b)
        counts[step] = both, 0, 200 - both
    return counts


def test_the_best_mean_wins_and_of_equals_that_nearest_to_a_half():
    low, high = flat(0.0, at={3: 1.0, 12: 1.0}), flat(0.0, at={3: 1.0, 12: 1.0, 18: 1.0})
    chosen = choose({"a": np.stack([low, flat(1.0, at={})]), "b": np.stack([high, flat(1.0, at={9: 0.0})])}, ["x", "y"])
    assert chosen["x"] == (0.65, 1, 0)  # step 12 is nearer to step 9 than step 3 is
    assert chosen["y"] == (0.45, 1, 0.5)  # below and above are as near: the lower


def test_a_case_without_the_region_is_left_out_where_nothing_is_seen():
    seen = np.zeros((19, 3), int)
    seen[:5, 1] = 7  # false voxels up to 0.25; above, neither map has any
    chosen = choose({"with": flat(0.5, at={2: 0.6})[None], "without": seen[None]}, ["x"])
    # Means: 0.6 / 2 at the third step, 0.5 / 2 at its neighbours, 0.5 of the one case from the sixth on.
    assert chosen["x"] == pytest.approx((0.5, 0.5, 0.5), abs=0.01)


def test_what_tells_no_threshold_is_refused():
    with pytest.raises(ValueError, match="no case to choose"):
        choose({}, ["x"])
    nothing = np.zeros((19, 3), int)
    nothing[:, 1] = 5
    with pytest.raises(ValueError, match="no case has y: nothing tells"):
        choose({"a": np.stack([flat(0.5, at={}), nothing])}, ["x", "y"])
    with pytest.raises(ValueError, match="exclude one another"):
        ThresholdSurvey(WholeVolume(), {}, LabelScheme(2).table)


def test_a_survey_counts_what_one_decision_after_another_would():
    # Five regions, more than go into one look; label 4 is merged into 3, and some voxels nobody knows.
    regions = {"a": (1, 3), "b": (2, 3), "c": (3,), "d": (5,), "e": (1, 2)}
    packed = OverlappingOrgans()[0]
    sample, network = packed["data_samples"], lambda batch: torch.cat([batch, -batch, batch[:, :1] / 2], dim=1)
    truth = sample.reference.array[0]
    truth[0, 0, :4], truth[3, 5, 4:] = 255, 4
    truth[3, 0] = 5
    survey = ThresholdSurvey(WholeVolume(), regions, LabelScheme(6, label_map={4: 3}).table)
    survey.segment(network, packed["inputs"], sample)
    counts = survey.counts["case0"]
    assert counts.shape == (5, 19, 3)
    renamed = np.where(truth == 4, 3, truth)
    for row, members in enumerate(regions.values()):
        for step in (0, 8, 9, 18):
            cutoff = logits(THRESHOLDS[step]).item()
            found = WholeVolume().segment(
                network, packed["inputs"], sample, decide=lambda scores, row=row, cutoff=cutoff: scores[row] > cutoff
            )
            inside = np.where(renamed == 255, 255, np.isin(renamed, members)).astype(np.uint8)
            assert counts[row, step].tolist() == label_counts(found.array[0], inside, [1])[0].tolist()


# ---- the command -----------------------------------------------------------------------------------------------------


def written(folder: Path, **changes) -> str:
    path = folder / "config.py"
    config(folder / "run", **changes).dump(path)
    return str(path)


def run(folder: Path, *options: str, **changes) -> dict:
    out = folder / "new" / "thresholds.json"
    weights = checkpoint(folder / "model.pth")
    main(["choose-thresholds", written(folder, **changes), str(weights), "--out", str(out), *options])
    return json.loads(out.read_text())


def test_the_command_chooses_what_validation_confirms(tmp_path: Path, capsys: pytest.CaptureFixture):
    saved = run(tmp_path)
    assert set(saved) == {"thresholds", "dice", "dice_at_0.5", "cases"} and saved["cases"] == 3
    told = capsys.readouterr().out
    assert f"model = dict(test_cfg=dict(thresholds={saved['thresholds']}))" in told
    assert all(f"{saved['dice'][organ]:.4f}" in told for organ in ORGANS)
    assert not (tmp_path / "run" / "scores.jsonl").exists()  # the record of the run's own validations
    scores = {}
    for name, thresholds in {"dice": saved["thresholds"], "dice_at_0.5": None}.items():
        settings = config(tmp_path / "run", thresholds=thresholds, load_from=str(tmp_path / "model.pth"))
        with DefaultScope.overwrite_default_scope("vdt3d"):
            scores[name] = Runner.from_cfg(settings).val()
    for name, found in scores.items():
        assert saved[name] == pytest.approx({organ: found[f"dice_{organ}"] for organ in ORGANS})
    assert all(saved["dice"][organ] > saved["dice_at_0.5"][organ] for organ in ORGANS)


def test_the_best_of_all_thresholds_is_found(tmp_path: Path):
    saved, dataset = run(tmp_path), OverlappingOrgans()
    regions = overlapping_regions(ORGANS)
    for row, organ in enumerate(ORGANS):
        means = []
        for threshold in THRESHOLDS:
            cutoff, values = logits(threshold).item(), []
            for index in range(len(dataset)):
                packed = dataset[index]
                found = WholeVolume().segment(
                    lambda batch: batch,
                    packed["inputs"],
                    packed["data_samples"],
                    decide=lambda scores, row=row, cutoff=cutoff: scores[row] > cutoff,
                )
                inside = np.isin(dataset.truth(index), regions[organ])
                values.append(dice(label_counts(found.array[0], inside, [1]))[0])
            means.append(np.mean(values))
        assert saved["dice"][organ] == pytest.approx(max(means))
        assert means[THRESHOLDS.index(saved["thresholds"][organ])] == pytest.approx(max(means))


def refused(folder: Path, capsys: pytest.CaptureFixture, **changes) -> str:
    with pytest.raises(SystemExit) as left:
        run(folder, **changes)
    assert left.value.code == 2 and not (folder / "new").exists()
    return capsys.readouterr().err


def test_what_has_no_thresholds_is_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture):
    model = config(tmp_path).model
    classes = model | dict(decode_head=dict(num_classes=2, regions=None))
    assert "there is no threshold to choose" in refused(tmp_path, capsys, model=classes)
    assert "labels no whole scans" in refused(tmp_path, capsys, model=model | dict(test_cfg=None))
    absent = dict(val_dataloader=None, val_cfg=None, val_evaluator=None)
    assert "has no val_dataloader" in refused(tmp_path, capsys, **absent)
