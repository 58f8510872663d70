"""The demo from start to end, shrunk: every step by its command, the pictures drawn, both results told."""

from pathlib import Path

import pytest

from vdt3d.cli import demo, main

SPLITS = ("train", "val", "test")


@pytest.fixture
def shrunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs the demo's commands in this process, for an epoch on few cases; returns the commands' names."""
    monkeypatch.chdir(tmp_path)
    make = {demo.PRETRAIN: "make.per_class=4", demo.CLASSIFY: "make.cases=40"}
    ran = []

    def command(name: str, *words: object) -> None:
        data = [f"{split}_dataloader.dataset.{make[words[0]]}" for split in SPLITS if words[0] in make]
        epochs = ["train_cfg.max_epochs=1"] * (name == "train")
        main([name, *map(str, words), *(["--cfg-options", *data, *epochs] if data else [])])
        ran.append(name)

    monkeypatch.setattr(demo, "command", command)
    return ran


def test_demo_from_start_to_end(shrunk: list[str], tmp_path: Path, capsys):
    main(["demo", "--out", "shown"])
    assert shrunk == ["browse", "browse", "train", "train", "train", "test", "test", "report"]
    for name in (
        "report.html",
        "learning_curves.png",
        "predictions.png",
        "pictures/train_01.png",
        "phantoms/train_01.png",
    ):
        assert (tmp_path / "shown" / name).stat().st_size > 1000
    said = capsys.readouterr().out
    assert said.count("AUC") == 2
    assert "tensorboard --logdir shown" in said
