"""Scores that choose: best checkpoints and early stops by name and direction, scores that are nan, shared cases."""

import logging
import math
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import tiny
import torch
from mmengine.config import Config

from vdt3d.engine import CheckpointHook, EarlyStopHook
from vdt3d.engine.score_rules import with_rules
from vdt3d.evaluation import ClassificationScores
from vdt3d.registry import DATASETS


@DATASETS.register_module()
class DarkVolumes(tiny.TinyVolumes):
    """Volumes of the first class alone."""

    def load_data_list(self) -> list[dict]:
        return [{"index": 2 * index, "gt_label": 0} for index in range(self.length)]

    def prepare_data(self, idx: int) -> dict:
        return super().prepare_data(2 * idx)

    def targets(self):
        return super().targets() * 0


def stub(folder: Path, metric: ClassificationScores | None = None) -> SimpleNamespace:
    """What hooks ask a runner for."""
    hub = SimpleNamespace(runtime_info={})
    hub.update_info = hub.runtime_info.__setitem__
    evaluator = SimpleNamespace(metrics=[metric or ClassificationScores()])
    return SimpleNamespace(
        training=True,
        message_hub=hub,
        work_dir=folder,
        epoch=1,
        iter=4,
        logger=logging.getLogger("stub"),
        val_loop=SimpleNamespace(evaluator=evaluator),
        train_loop=SimpleNamespace(stop_training=False),
        save_checkpoint=lambda folder, name, **_: (Path(folder) / name).touch(),
    )


def absent_class() -> ClassificationScores:
    """A metric whose last evaluation lacked a class."""
    metric = ClassificationScores()
    metric.dataset_meta = {"classes": ("healthy", "ill", "rare")}
    metric.process(None, [{"sample_name": "a", "gt_label": 1, "pred_score": torch.tensor([0.2, 0.5, 0.3])}])
    assert math.isnan(metric.evaluate(1)["auc"])
    return metric


# ---- by name and direction -------------------------------------------------------------------------------------------


def test_best_scores_are_kept_by_their_names(tmp_path: Path):
    run = stub(tmp_path)
    CheckpointHook(save_best="auc").after_val_epoch(run, {"auc": 0.3, "log_loss": 0.7})
    hook = CheckpointHook(save_best="log_loss")
    for log_loss in (0.7, 0.6, 0.9):  # of which 0.9 is not better, though greater
        hook.after_val_epoch(run, {"auc": 0.3, "log_loss": log_loss})
    assert run.message_hub.runtime_info["best_scores"] == {"auc": 0.3, "log_loss": 0.6}
    assert (tmp_path / "best_auc.pth").exists() and (tmp_path / "best_log_loss.pth").exists()


def test_a_best_score_without_a_name_is_that_of_the_run(tmp_path: Path):
    run = stub(tmp_path)
    run.message_hub.update_info("best_score", 0.8)  # as earlier versions kept it
    CheckpointHook(save_best="auc").after_val_epoch(run, {"auc": 0.5})
    assert not (tmp_path / "best_auc.pth").exists()


def test_early_stops_count_by_the_name_of_the_score(tmp_path: Path):
    run = stub(tmp_path)
    for auc in (0.5, 0.4):
        EarlyStopHook("auc", patience=2).after_val_epoch(run, {"auc": auc, "log_loss": 0.1})
    EarlyStopHook("log_loss", patience=2).after_val_epoch(run, {"auc": 0.4, "log_loss": 0.1})
    assert not run.train_loop.stop_training
    assert run.message_hub.runtime_info["early_stop"] == {
        "auc": {"best": 0.5, "waited": 1},
        "log_loss": {"best": 0.1, "waited": 0},
    }


@pytest.mark.parametrize("hook", [dict(type="EarlyStopHook", monitor="dice"), None])
def test_a_direction_is_asked_for_before_the_first_step(tmp_path: Path, hook: dict | None):
    config = tiny.config(tmp_path, hooks=(hook,) if hook else ())
    if hook is None:
        config.default_hooks.checkpoint.save_best = "threshold"  # neither greater nor smaller is better
    with pytest.raises(ValueError, match="dice" if hook else "threshold"):
        tiny.train(config)
    assert not list(tmp_path.glob("*.pth")) and not (tmp_path / "rates.txt").exists()


def test_an_unknown_rule_is_refused():
    for make in (CheckpointHook, EarlyStopHook):
        with pytest.raises(ValueError, match="'higher'"):
            make(**{"save_best" if make is CheckpointHook else "monitor": "auc"}, rule="higher")


def test_schedulers_and_hooks_of_mmengine_get_the_direction_of_their_score():
    evaluator = dict(type="ClassificationScores")
    plateau, stop = (dict(type=kind, monitor="auc") for kind in ("ReduceOnPlateauLR", "EarlyStoppingHook"))
    cosine = dict(type="CosineAnnealingLR", T_max=3)
    assert with_rules([cosine, plateau], evaluator) == [cosine, plateau | {"rule": "greater"}]
    assert with_rules({"lr": plateau | {"monitor": "log_loss"}}, evaluator)["lr"]["rule"] == "less"
    assert with_rules(plateau | {"rule": "less"}, evaluator)["rule"] == "less"  # given by the config
    assert with_rules([plateau, stop], evaluator, only=("EarlyStoppingHook",)) == [plateau, stop | {"rule": "greater"}]
    with pytest.raises(ValueError, match="monitor='loss'"):
        with_rules(dict(type="ReduceOnPlateauLR"), evaluator)


def test_a_search_takes_the_direction_of_the_config_or_the_metric():
    tuning = pytest.importorskip("vdt3d.experiments.tuning")
    config = Config(dict(val_evaluator=[dict(type="ClassificationScores")], default_hooks=dict(checkpoint={})))
    assert tuning.greater_is_better("auc", config) and not tuning.greater_is_better("log_loss", config)
    config.default_hooks.checkpoint = dict(save_best="cost", rule="less")
    assert not tuning.greater_is_better("cost", config)
    with pytest.raises(ValueError, match="score='price'"):
        tuning.greater_is_better("price", config)


# ---- nan -------------------------------------------------------------------------------------------------------------


def test_a_score_that_is_nan_names_the_class_and_the_checkpoint_that_stays(tmp_path: Path, caplog):
    run = stub(tmp_path, absent_class())
    (tmp_path / "last_checkpoint").write_text("epoch_1.pth")
    (tmp_path / "epoch_1.pth").touch()
    hook = CheckpointHook(save_best="auc")
    with caplog.at_level(logging.WARNING):
        hook.after_val_epoch(run, {"auc": math.nan})
        hook.after_train(run)
        first, last = caplog.messages
        assert all(word in first for word in ("auc is nan", "'healthy', 'rare'", "best_auc.pth", "epoch_1.pth"))
        assert "best_auc.pth was not written" in last and "epoch_1.pth" in last
        caplog.clear()
        hook.after_val_epoch(run, {"auc": 0.75})
        hook.after_val_epoch(run, {"auc": math.nan})
        hook.after_train(run)
        (message,) = caplog.messages
        assert "best_auc.pth (0.7500) is kept" in message


def test_a_run_that_stops_at_nan_names_the_class(tmp_path: Path, caplog):
    run = stub(tmp_path, absent_class())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            EarlyStopHook("auc", patience=2).after_val_epoch(run, {"auc": math.nan})
    assert run.train_loop.stop_training
    assert "auc" in caplog.text and "2 validations" in caplog.text and "'rare'" in caplog.text


# ---- cases -----------------------------------------------------------------------------------------------------------


def scores_of(folder: Path, **changes) -> dict[str, float]:
    config = tiny.config(folder)
    config.merge_from_dict(changes)
    return tiny.Runner.from_cfg(config).test()


def log(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.glob("*/*.log"))


def test_scores_of_validation_cases_are_marked(tmp_path: Path):
    assert scores_of(tmp_path / "same")["validation_cases"] == 7
    assert "7 of 7 test cases are validation cases" in log(tmp_path / "same")
    assert (tmp_path / "same/scores.jsonl").read_text().count("validation_cases") == 1
    some = scores_of(tmp_path / "some", **{"val_dataloader.dataset.indices": [0, 1, 5, 6]})
    assert some["validation_cases"] == 4
    apart = scores_of(tmp_path / "apart", **{"val_dataloader.dataset": dict(type="DarkVolumes", length=0)})
    assert "validation_cases" not in apart


def test_a_test_set_without_a_class_is_named(tmp_path: Path):
    scores = scores_of(tmp_path, **{"test_dataloader.dataset.type": "DarkVolumes"})
    assert math.isnan(scores["auc"])
    assert "nan: auc" in log(tmp_path) and "no case of class 'bright'" in log(tmp_path)


def test_one_class_cannot_be_trained_on(tmp_path: Path):
    config = tiny.config(tmp_path)
    config.train_dataloader.dataset.type = "DarkVolumes"
    with pytest.raises(ValueError, match=r"DarkVolumes.*8.*'dark'"):
        tiny.train(config)


@pytest.mark.parametrize("target", ["ill", "1"])
def test_a_table_of_one_class_is_refused(tmp_path: Path, target: str):
    names = [f"{number}.npy" for number in range(4)]
    for name in names:
        (tmp_path / name).touch()
    pd.DataFrame({"path": names, "target": target}).to_csv(tmp_path / "labels.csv", index=False)
    table = dict(type="VolumeClassification", data_root=str(tmp_path), split="all")
    with pytest.raises(ValueError, match=f"labels.csv.*4.*'{target}'"):
        DATASETS.build(table)
    if target == "ill":  # a test on cases of one class names the classes
        assert len(DATASETS.build(table | {"classes": ("healthy", "ill")})) == 4
