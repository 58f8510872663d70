"""The commands at work: one clear line for a user's mistake, configs found and shown, inputs drawn."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from vdt3d.cli import main
from vdt3d.cli.print_config import annotate, place
from vdt3d.utils.files import find_config

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tools").rglob("[!_]*.py"))
PRETRAIN, CLASSIFY, SEGMENT = (f"configs/debug/{task}.py" for task in ("pretrain", "classify", "segment"))
IMAGENET = "configs/imagenet_pretrain/resnet3d-18_vdt_8xb32-cos-100e_in1k.py"


def shrunk(folder: Path) -> list[str]:
    """Overrides that make ``configs/debug/classify.py`` a matter of a second, on data below ``folder``."""
    data = [
        f"{split}_dataloader.dataset.{setting}"
        for split in ("train", "val", "test")
        for setting in (f"data_root={folder / 'nodules'}", "make.cases=40")
    ]
    return ["--cfg-options", *data, "train_cfg.max_epochs=1", "test_evaluator.resamples=20"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    main(["train", CLASSIFY, "--work-dir", str(folder / "run"), *shrunk(folder)])
    return folder


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_tool_works_from_any_folder(script: str, tmp_path: Path):
    words = [sys.executable, "-I", str(ROOT / script), "--help"]  # -I: neither this folder nor PYTHONPATH helps
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: vdt3d ")


def test_train_writes_a_checkpoint_that_test_scores(trained: Path, capsys):
    run, out = trained / "run", trained / "new" / "scores.json"
    main(["test", CLASSIFY, str(run / "epoch_1.pth"), "--work-dir", str(run), "--out", str(out), *shrunk(trained)])
    scores = json.loads(out.read_text())
    assert scores["tp"] + scores["fn"] + scores["tn"] + scores["fp"] > 0
    assert {"auc", "auc_low", "accuracy_at_threshold", "threshold"} <= set(scores)
    row = f"{scores['auc']:.4f} {scores['auc_low']:.3f} to {scores['auc_high']:.3f}"
    assert f"auc {row}" in " ".join(capsys.readouterr().out.split())


def test_a_classifier_has_no_labels_to_write(trained: Path, capsys):
    words = ["--work-dir", str(trained / "run"), *shrunk(trained)]
    with pytest.raises(SystemExit):
        main(["test", CLASSIFY, str(trained / "run/epoch_1.pth"), "--format-only", str(trained / "labels"), *words])
    assert "VolumeClassifier answers no labels to write" in capsys.readouterr().err
    assert not (trained / "labels").exists()


def test_fine_tuning_starts_from_a_backbone_and_leaves_its_head_out(trained: Path):
    options = [
        f"load_from={trained / 'run' / 'epoch_1.pth'}",
        "model.head.num_classes=3",
        "val_evaluator.threshold=None",
    ]
    main(["train", CLASSIFY, "--work-dir", str(trained / "tuned"), *shrunk(trained), *options])
    (log,) = (trained / "tuned").glob("*/*.log")
    assert "head.fc.weight" in log.read_text().partition("Loaded weights")[2]


def test_a_run_can_be_lengthened_by_resume(trained: Path):
    options = ["train_cfg.max_epochs=2", "--resume"]
    main(["train", CLASSIFY, "--work-dir", str(trained / "run"), *shrunk(trained), *options])
    assert (trained / "run" / "epoch_2.pth").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "nowhere.py"], "nowhere.py: no such config"),
        (["train", "configs/debug/clasify.py"], "; did you mean 'configs/debug/classify.py'?"),
        (["train", "configs/_base_/default_runtime.py"], "there is no model in it"),
        (["train", CLASSIFY, "--cfg-options", "lr"], "--cfg-options wants key=value, got 'lr'"),
        (["train", CLASSIFY, "--cfg-options", "a=[b]"], "--cfg-options a: [b] is no Python; words in it want quotes"),
        (
            ["train", CLASSIFY, "--cfg-options", "optim_wraper.lr=1"],
            "no setting 'optim_wraper'; did you mean 'optim_wrapper'",
        ),
        (
            ["train", CLASSIFY, "--cfg-options", "data_root=mine"],
            "'data_root' is a name that the config file itself uses",
        ),
        (["train", CLASSIFY, "--cfg-options", "model.backbone.type=ResNet4D"], "did you mean 'ResNet3D'"),
        (
            ["train", CLASSIFY, "--cfg-options", "model.backbone.nonsense=1"],
            "model.backbone has no setting 'nonsense'",
        ),
        (["train", CLASSIFY, "--cfg-options", "optim_wrapper.optimizer.lr=fast"], "optim_wrapper.optimizer.lr='fast'"),
        (["train", CLASSIFY, "--cfg-options", "model.head={'_delete_': True}"], 'must contain the key "type"'),
        (["train", CLASSIFY, "--cfg-options", "load_from=no.pth"], "no.pth: there is no such checkpoint"),
        (["train", CLASSIFY, "--work-dir", str(ROOT / "setup.py")], "setup.py is a file; name a folder"),
        (
            ["train", IMAGENET, "--cfg-options", "train_dataloader.dataset.data_root=no"],
            "folder no/train",
        ),
        (
            ["train", CLASSIFY, "--cfg-options", "model.head.num_classes=1"],
            "set model.head.num_classes=2",
        ),
        (["train", CLASSIFY, "--resume", "no.pth"], "--resume no.pth: there is no such checkpoint"),
        (["test", CLASSIFY, str(ROOT / "setup.py")], "setup.py"),
    ],
)
def test_a_mistake_is_said_in_a_line(words: list[str], message: str, trained: Path, capsys):
    options = shrunk(trained) if CLASSIFY in words else []
    with pytest.raises(SystemExit) as left:
        main([words[0], "--work-dir", str(trained / "wrong"), *words[1:], *options])
    said = capsys.readouterr().err
    assert left.value.code == 2
    assert said.startswith(f"vdt3d {words[0]}: error: ")
    assert message in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("text", "kind"), [("a = (", "SyntaxError"), ("a = b", "NameError"), ("_base_ = 'x.py'", "x.py")]
)
def test_a_broken_config_is_named(text: str, kind: str, tmp_path: Path, capsys):
    config = tmp_path / "broken.py"
    config.write_text(text)
    with pytest.raises(SystemExit):
        main(["print-config", str(config)])
    said = capsys.readouterr().err
    assert str(config) in said
    assert kind in said


def test_a_config_need_not_say_where_its_types_are_looked_up(trained: Path, tmp_path: Path):
    config = Config.fromfile(ROOT / CLASSIFY, lazy_import=False)
    config.pop("default_scope")
    config.dump(tmp_path / "own.py")
    main(["train", str(tmp_path / "own.py"), "--work-dir", str(tmp_path / "run"), *shrunk(trained)])
    assert (tmp_path / "run/epoch_1.pth").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["browse", CLASSIFY, "--number", "0"], "--number 0: draw one sample or more"),
        (["browse", CLASSIFY, "--split", "val", "--cfg-options", "val_dataloader=none"], "there is no val_dataloader"),
        (["train", CLASSIFY, "--cfg-options", "train_dataloader=none"], "there is no train_dataloader in it"),
        (["test", CLASSIFY, "a.pth", "--cfg-options", "test_dataloader=none"], "there is no test_dataloader in it"),
    ],
)
def test_what_a_command_cannot_do_without_is_named(words: list[str], message: str, capsys):
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2 and message in capsys.readouterr().err


def test_debug_shows_where_it_happened():
    with pytest.raises(FileNotFoundError):
        main(["train", "nowhere.py", "--debug"])


def test_a_config_of_the_package_is_found_from_any_folder(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config(Path(CLASSIFY)) == ROOT / CLASSIFY


def test_print_config_says_where_types_live_and_stays_a_config(tmp_path: Path, capsys):
    main(["print-config", CLASSIFY, "--cfg-options", "model.backbone.depth=18"])
    text = capsys.readouterr().out
    shown = tmp_path / "shown.py"
    shown.write_text(text)
    original = Config.fromfile(ROOT / CLASSIFY, lazy_import=False)
    original.model.backbone.depth = 18
    assert Config.fromfile(shown, lazy_import=False).to_dict() == original.to_dict()
    source = (ROOT / "vdt3d/models/backbones/resnet3d.py").read_text().splitlines()
    line = source.index("@MODELS.register_module()") + 1
    assert f"type='ResNet3D'),  # vdt3d/models/backbones/resnet3d.py:{line}\n" in text


def test_places_of_several_types_in_a_line():
    line = "a = dict(type='PackVolume', then=dict(type='NoSuchThing'))"
    assert annotate(line) == f"{line}  # {place('PackVolume')}, not registered\n"


@pytest.mark.parametrize("split", ["train", "val"])
def test_browse_draws_volumes(split: str, trained: Path):
    options = [word for word in shrunk(trained) if "max_epochs" not in word]
    main(["browse", CLASSIFY, "--split", split, "--number", "3", "--out", str(trained / "sheets"), *options])
    with Image.open(trained / "sheets" / f"{split}_01.png") as sheet:
        assert sheet.width > sheet.height > 3 * 100  # three rows of slices


def test_browse_draws_pictures_on_sheets_of_eight(tmp_path: Path):
    data = [f"train_dataloader.dataset.{s}" for s in (f"data_root={tmp_path / 'data'}", "make.per_class=2")]
    main(["browse", PRETRAIN, "--number", "9", "--out", str(tmp_path / "sheets"), "--cfg-options", *data])
    assert sorted(path.name for path in (tmp_path / "sheets").iterdir()) == ["train_01.png", "train_02.png"]


@pytest.mark.parametrize("split", ["train", "val"])
def test_browse_paints_labels_where_the_network_learns_from_them(split: str, tmp_path: Path):
    data = [f"{split}_dataloader.dataset.{s}" for s in (f"data_root={tmp_path / 'organs'}", "make.cases=5")]
    main(["browse", SEGMENT, "--split", split, "--number", "2", "--out", str(tmp_path), "--cfg-options", *data])
    with Image.open(tmp_path / f"{split}_01.png") as sheet:
        coloured = np.ptp(np.asarray(sheet.convert("RGB")).astype(int), axis=-1) > 50
    assert coloured.any() == (split == "train")  # whole scans wait for the prediction with their labels apart
