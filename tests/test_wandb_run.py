"""Weights & Biases: a resumed run continues its run, a new one begins its own; a stand-in keeps the calls."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import tiny

BACKENDS = [dict(type="LocalVisBackend"), dict(type="WandbVisBackend", init_kwargs=dict(project="nodules"))]


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """The settings of each run that was begun or continued there."""
    module, settings = ModuleType("wandb"), []

    def init(**given) -> None:
        settings.append(given)
        module.run = SimpleNamespace(id=given.get("id", f"run{len(settings)}"), log_code=lambda **kwargs: None)

    module.init, module.config = init, SimpleNamespace(update=lambda *args, **kwargs: None)
    module.log, module.join = lambda *args, **kwargs: None, lambda: None
    monkeypatch.setitem(sys.modules, "wandb", module)
    return settings


def train(folder: Path, epochs: int, *, resume: bool = False, **changes) -> None:
    tiny.train(
        tiny.config(folder, epochs=epochs, visualizer=dict(type="Visualizer", vis_backends=BACKENDS), **changes), resume
    )


def test_a_resumed_run_continues_and_a_new_one_does_not(begun, tmp_path):
    train(tmp_path, 1)
    train(tmp_path, 2, resume=True)
    train(tmp_path, 1, overwrite=True)
    first, resumed, new = begun
    assert "id" not in first and "id" not in new
    assert (resumed["id"], resumed["resume"], resumed["project"]) == ("run1", "allow", "nodules")
    assert resumed["allow_val_change"]  # of a config whose length has changed
    train(tmp_path, 2, resume=True)
    assert begun[-1]["id"] == "run3"
