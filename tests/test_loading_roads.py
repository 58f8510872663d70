"""Every road by which a config or a command names a file: what holds code is refused on each, and never runs."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mmengine.runner.checkpoint
import numpy as np
import pytest
import tiny
import torch
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader, load_checkpoint

from vdt3d import cli
from vdt3d.engine import Runner
from vdt3d.engine.hooks.checkpoint import point_to
from vdt3d.io import read_volume
from vdt3d.models.weights.files import CheckpointError, read_any
from vdt3d.registry import MODELS

ROOT = Path(__file__).parents[1]


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return (os.mkdir, (str(self.target),))


def load_from(path: Path) -> None:
    tiny.train(tiny.config(path.parent / "run", epochs=1, load_from=str(path)))


def resume(path: Path) -> None:
    tiny.train(tiny.config(path.parent, epochs=2), resume=str(path))


def resume_the_last(path: Path) -> None:
    point_to(path)
    tiny.train(tiny.config(path.parent, epochs=2), resume=True)


def init_cfg(path: Path) -> None:
    backbone = tiny.TinyBackbone(init_cfg=dict(type="Pretrained", checkpoint=str(path)))
    with DefaultScope.overwrite_default_scope("vdt3d"):
        backbone.init_weights()


def pretrained_of_our_classifier(path: Path) -> None:
    with DefaultScope.overwrite_default_scope("vdt3d"):
        MODELS.build({**tiny.config(path.parent).model, "pretrained": str(path)}).init_weights()


def pretrained_of_mmpretrain(path: Path) -> None:
    model = dict(tiny.config(path.parent).model, type="mmpretrain.ImageClassifier", pretrained=str(path))
    MODELS.build(model).init_weights()


def command_test(path: Path) -> None:
    config = path.with_name("config.py")
    tiny.config(path.parent, log_level="ERROR").dump(config)
    cli.main(["test", str(config), str(path), "--work-dir", str(path.parent), "--debug"])


def command_train(path: Path) -> None:
    config = path.with_name("config.py")
    tiny.config(path.parent, epochs=2).dump(config)
    cli.main(["train", str(config), "--resume", str(path), "--work-dir", str(path.parent), "--debug"])


def mmengine_function(path: Path) -> None:
    load_checkpoint(MODELS.build(tiny.config(path.parent).model), str(path))


def mmengine_loader(path: Path) -> None:
    CheckpointLoader.load_checkpoint(str(path))


def mmengine_prefix(path: Path) -> None:
    mmengine.runner.checkpoint._load_checkpoint_with_prefix("backbone", str(path))


ROADS = [
    load_from,
    resume,
    resume_the_last,
    init_cfg,
    pretrained_of_our_classifier,
    pretrained_of_mmpretrain,
    command_test,
    command_train,
    mmengine_function,
    mmengine_loader,
    mmengine_prefix,
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> dict:
    """What a run of one epoch wrote."""
    folder = tmp_path_factory.mktemp("run")
    tiny.train(tiny.config(folder, epochs=1))
    return tiny.saved(folder / "epoch_1.pth")


@pytest.mark.parametrize("road", ROADS, ids=lambda road: road.__name__)
def test_code_is_refused_and_its_text_is_only_text(checkpoint, tmp_path, road: Callable[[Path], None]):
    ran = tmp_path / "ran"
    bomb = tmp_path / "bomb" / "epoch_1.pth"
    bomb.parent.mkdir()
    torch.save({**checkpoint, "x": Bomb(ran)}, bomb)
    with pytest.raises(CheckpointError, match=r"epoch_1.pth: refused, because it holds 'posix.mkdir'"):
        road(bomb)
    assert not ran.exists()

    # The same file without the bomb passes, though the config kept in it, a text, would run code if it were executed.
    text = tmp_path / "text" / "epoch_1.pth"
    text.parent.mkdir()
    code = f"import os\nos.mkdir({str(ran)!r})\nload_from = {{{{ fileDirname }}}}\n"
    torch.save({**checkpoint, "meta": {**checkpoint["meta"], "cfg": code}}, text)
    road(text)
    assert not ran.exists()


def test_every_scheme_of_mmengine_leads_to_our_reader():
    assert set(CheckpointLoader._schemes.values()) == {read_any}
    assert {"", "http://", "https://", "openmmlab://", "mmcls://"} <= set(CheckpointLoader._schemes)


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path) -> Iterator[str]:
    """The address of a folder ``tmp_path / "web"`` behind http, with downloads kept in ``tmp_path / "hub"``."""
    (tmp_path / "web").mkdir()
    web = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "web"))
    threading.Thread(target=web.serve_forever, daemon=True).start()
    before = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path / "hub")
    yield f"http://127.0.0.1:{web.server_port}"
    torch.hub.set_dir(before)
    web.shutdown()


def test_files_from_the_net(server, checkpoint, tmp_path):
    torch.save({**checkpoint, "x": Bomb(tmp_path / "ran")}, tmp_path / "web" / "bomb.pth")
    torch.save(checkpoint, tmp_path / "web" / "good.pth")
    torch.save(checkpoint, tmp_path / "web" / "good-00000000.pth")
    with pytest.raises(CheckpointError, match=r"bomb.pth: refused"):
        load_checkpoint(torch.nn.Linear(1, 1), f"{server}/bomb.pth")
    assert not (tmp_path / "ran").exists()
    assert read_any(f"{server}/good.pth")["meta"]["epoch"] == 1
    assert (tmp_path / "hub/checkpoints/good.pth").is_file()
    with pytest.raises(CheckpointError, match=r"good-00000000.pth: not fetched .*hash"):
        read_any(f"{server}/good-00000000.pth")
    with pytest.raises(CheckpointError, match=r"none.pth: not fetched .*404"):
        read_any(f"{server}/none.pth")
    assert sorted(path.name for path in (tmp_path / "hub/checkpoints").glob("[!.]*")) == ["bomb.pth", "good.pth"]


def test_the_script_refuses_in_one_line(checkpoint, tmp_path):
    tiny.config(tmp_path).dump(tmp_path / "config.py")
    torch.save({**checkpoint, "x": Bomb(tmp_path / "ran")}, tmp_path / "bomb.pth")
    command = [sys.executable, ROOT / "tools/test.py", tmp_path / "config.py", tmp_path / "bomb.pth"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    ended = subprocess.run(
        [*command, "--work-dir", tmp_path / "out"], env=environment, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 2
    assert "bomb.pth: refused, because it holds 'posix.mkdir'" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "ran").exists()


def test_a_backbone_by_itself_refuses_too(checkpoint, tmp_path):
    torch.save({**checkpoint, "x": Bomb(tmp_path / "ran")}, tmp_path / "bomb.pth")
    backbone = dict(type="ResNet3D", depth=10, init_cfg=dict(type="Pretrained", checkpoint=str(tmp_path / "bomb.pth")))
    script = f"from vdt3d.registry import MODELS; MODELS.build({backbone}).init_weights()"  # and no engine
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert "bomb.pth: refused, because it holds 'posix.mkdir'" in ended.stderr
    assert not (tmp_path / "ran").exists()


def test_arrays_of_objects_are_refused(tmp_path):
    objects = np.empty((2, 2, 2), object)
    objects[:] = Bomb(tmp_path / "ran")
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", image=objects)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(ValueError, match=name):
            read_volume(tmp_path / name)
    assert not (tmp_path / "ran").exists()


# ---- what each road asks of a file ----


def test_training_may_change_the_head_and_testing_may_not(checkpoint, tmp_path):
    state = {key: value for key, value in checkpoint["state_dict"].items() if key.startswith("backbone.")}
    torch.save({"state_dict": state}, tmp_path / "backbone.pth")
    runner = Runner.from_cfg(tiny.config(tmp_path, epochs=1, load_from=str(tmp_path / "backbone.pth")))
    runner.train()
    log = next(tmp_path.glob("*/*.log")).read_text()
    assert "7 of 9 tensors filled" in log
    assert "2 missing in the file: head.fc.weight, head.fc.bias" in log
    with pytest.raises(CheckpointError, match=r"78% .*100%"):
        command_test(tmp_path / "backbone.pth")


def test_min_matched_of_a_config(checkpoint, tmp_path):
    state = {key: value for key, value in checkpoint["state_dict"].items() if "running" not in key}
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(CheckpointError, match=r"backbone\.norm\.running_mean"):
        load_from(tmp_path / "part.pth")
    tiny.train(tiny.config(tmp_path, epochs=1, load_from=str(tmp_path / "part.pth"), min_matched=0.7))


def test_a_test_that_validates_first_writes_no_checkpoint(checkpoint, tmp_path):
    torch.save(checkpoint, tmp_path / "a.pth")
    settings = dict(
        load_from=str(tmp_path / "a.pth"),
        val_evaluator=dict(type="ClassificationScores", threshold="choose"),
        test_evaluator=dict(type="ClassificationScores", threshold="val"),
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", save_best="auc")),
    )
    assert "accuracy_at_threshold" in Runner.from_cfg(tiny.config(tmp_path, **settings)).test()
    assert [path.name for path in tmp_path.glob("*.pth")] == ["a.pth"]


def test_averaged_weights_are_what_is_tested(tmp_path):
    tiny.train(tiny.config(tmp_path, epochs=2, ema=True))
    last = tmp_path / "epoch_2.pth"
    runner = Runner.from_cfg(tiny.config(tmp_path, ema=True, load_from=str(last)))
    scores = runner.test()
    validated = (tmp_path / "scores.jsonl").read_text().splitlines()[1]
    assert f'"log_loss": {scores["log_loss"]!r}' in validated
