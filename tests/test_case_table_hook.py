"""CaseTableHook: tables of single cases as csv, or on Weights & Biases, for which a small stand-in keeps the calls."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pandas as pd
import pytest
from overlapping import ORGANS, config
from PIL import Image

from vdt3d.engine import CaseTableHook, Runner
from vdt3d.registry import HOOKS

WANDB = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend"), dict(type="WandbVisBackend")])


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What the hook and mmengine's backend call, keeping what they are given."""
    module = ModuleType("wandb")
    module.logged = []
    module.init = lambda **settings: None
    module.config = SimpleNamespace(update=lambda *args, **kwargs: None)
    module.run = SimpleNamespace(log_code=lambda **kwargs: None)
    module.log = lambda values, **kwargs: module.logged.append(values)
    module.join = lambda: None
    module.Table = lambda columns, data: SimpleNamespace(columns=columns, data=data)
    module.Image = lambda path: SimpleNamespace(path=path)
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def validated(folder: Path, hook: dict, **changes) -> dict[str, float]:
    return Runner.from_cfg(config(folder, custom_hooks=[dict(type="CaseTableHook", **hook)], **changes)).val()


def test_without_wandb_a_table_is_a_csv(tmp_path: Path):
    scores = validated(tmp_path, {})
    table = pd.read_csv(tmp_path / "val_cases.csv")
    assert table["case"].tolist() == ["case0", "case1", "case2"]
    for organ in ORGANS:
        assert table[f"dice_{organ}"].mean() == pytest.approx(scores[f"dice_{organ}"])
    assert not (tmp_path / "val_cases").exists()


def test_the_metrics_of_a_validation_share_a_table(tmp_path: Path):
    evaluators = [dict(type="SegmentationScores", surface=False), dict(type="GITractScore")]
    validated(tmp_path, {}, val_evaluator=evaluators)
    table = pd.read_csv(tmp_path / "val_cases.csv")
    assert len(table) == 3 and {"iou_bowel", "hausdorff_score_bowel"} <= set(table)


def test_tests_have_a_table_of_their_own(tmp_path: Path):
    settings = config(tmp_path, custom_hooks=[dict(type="CaseTableHook")])
    settings.test_dataloader = settings.val_dataloader
    scores = Runner.from_cfg(settings).test()
    table = pd.read_csv(tmp_path / "test_cases.csv")
    assert table["hd95_stomach"].mean() == pytest.approx(scores["hd95_stomach"])


def test_pictures_lie_beside_the_csv(tmp_path: Path):
    validated(tmp_path, dict(pictures=True))
    table = pd.read_csv(tmp_path / "val_cases.csv")
    assert table["picture"].tolist() == [str(tmp_path / "val_cases" / f"case{n}.png") for n in range(3)]
    with Image.open(table["picture"][0]) as picture:
        assert picture.width > 4 * 100  # the scan's four slices, though the network's grid has eight
    assert len(list((tmp_path / "val_cases").iterdir())) == 3


def test_wandb_gets_a_table(tmp_path: Path, wandb: ModuleType):
    scores = validated(tmp_path, dict(pictures=True), visualizer=WANDB)
    (table,) = [values["val_cases"] for values in wandb.logged if "val_cases" in values]
    rows = pd.DataFrame(table.data, columns=table.columns)
    assert rows["case"].tolist() == ["case0", "case1", "case2"]
    assert rows["dice_bowel"].mean() == pytest.approx(scores["dice_bowel"])
    assert all(Path(image.path).is_file() for image in rows["picture"])
    assert not (tmp_path / "val_cases.csv").exists()


def test_without_pictures_the_table_has_numbers_alone(tmp_path: Path, wandb: ModuleType):
    validated(tmp_path, {}, visualizer=WANDB)
    (table,) = [values["val_cases"] for values in wandb.logged if "val_cases" in values]
    assert "picture" not in table.columns and len(table.data) == 3


def test_where_nothing_is_scored_there_is_no_table(tmp_path: Path):
    scores = validated(tmp_path, {}, val_evaluator=[])
    assert all(name.startswith("val_loss") for name in scores)  # which is no score of single cases
    assert not (tmp_path / "val_cases.csv").exists()


def test_metrics_without_cases_are_named():
    evaluator = SimpleNamespace(metrics=[object()])
    runner = SimpleNamespace(val_loop=SimpleNamespace(evaluator=evaluator))
    with pytest.raises(ValueError, match="no scores of single cases in object; SegmentationScores keeps them"):
        HOOKS.build(dict(type="CaseTableHook")).after_val_epoch(runner)


def test_what_has_no_labels_has_no_pictures():
    class Sample(dict):
        sample_name = "case7"

    runner = SimpleNamespace(val_dataloader=SimpleNamespace(dataset=SimpleNamespace(metainfo={})))
    with pytest.raises(ValueError, match="case 'case7' has no labels to draw"):
        CaseTableHook(pictures=True).after_val_iter(runner, 0, {"inputs": [None]}, [Sample()])
