"""The original release's LIDC command: npz crops and csv tables in the published format, its weights, our scores."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vdt3d.cli import main
from vdt3d.datasets.synthetic import write_nodules
from vdt3d.models.weights import zoo
from vdt3d.registry import MODELS

CONFIG = str(Path(__file__).resolve().parents[1] / "configs/LIDC_Cls_configs/resnet18_3d_BN_b32x4_LIDC_cos_smoo.py")
SMALL = ["model.backbone.base_channels=8", "train_cfg.max_epochs=2", "train_dataloader.batch_size=8"]
SMALL += [f"{split}_dataloader.num_workers=0" for split in ("train", "val", "test")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the data where the config looks for them, and a zoo whose file is narrow and has no address."""
    monkeypatch.chdir(tmp_path)
    write_nodules(tmp_path / "data" / "lidc", cases=48)
    released = replace(zoo.find("vdt-resnet3d-18"), url=None, sha256=None)
    monkeypatch.setattr(zoo, "entries", lambda: [released])
    monkeypatch.setattr(zoo, "cache_folder", lambda: tmp_path)
    backbone = MODELS.build(dict(type="ResNet3D", depth=18, base_channels=8))
    torch.save({"meta": {"epoch": 100}, "state_dict": backbone.state_dict()}, released.path)
    return tmp_path


def test_trains_from_the_released_weights_and_tests(folder: Path):
    main(["train", CONFIG, "--work-dir", "run", "--cfg-options", *SMALL])
    log = next(folder.glob("run/*/*.log")).read_text()
    assert "120 of 122 tensors filled" in log  # the two of the head are ours
    main(["test", CONFIG, "run/epoch_2.pth", "--work-dir", "run", "--out", "scores.json", "--cfg-options", *SMALL])
    scores = (folder / "scores.json").read_text()
    for name in (
        "auc",
        "auc_low",
        "sensitivity",
        "specificity",
        "precision",
        "f1",
        "balanced_accuracy",
        "tp",
        "threshold",
    ):
        assert f'"{name}"' in scores, name


def test_missing_weights_are_missed(folder: Path, capsys):
    (folder / "res3d18_imagenet_BN_73.07-5ff2ecb7.pth").unlink()
    with pytest.raises(SystemExit) as stopped:
        main(["train", CONFIG, "--work-dir", "run", "--cfg-options", *SMALL])
    assert stopped.value.code == 2
    assert "zoo:vdt-resnet3d-18 has no address to download from" in capsys.readouterr().err
