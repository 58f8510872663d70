"""Configs that a run keeps: every value that they may have, and that they load and run again."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from mmengine.config import Config

from vdt3d.engine.plain_config import config_to_write, plain_config
from vdt3d.engine.run_record import config_of, read_records

VALUES = """
from pathlib import Path
import numpy as np
from torch.optim import SGD
optim_wrapper = dict(optimizer=dict(type=SGD, lr=np.sqrt(1e-4)), clip_grad=dict(max_norm=float("inf")))
paramwise = dict(custom_keys={"backbone.conv": dict(lr_mult=np.float32(0.5))})
train_dataloader = dict(dataset=dict(data_root=Path("a/b"), indices=np.arange(3), splits=range(2)))
others = (1, None, True, -2.5, "x", {1, 2}, [float("-inf")], b"y")
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "values.py"
    path.write_text(VALUES)
    return Config.fromfile(path, lazy_import=False)


def test_values_become_plain_and_imported_classes_are_left_out(config):
    plain = plain_config(config).to_dict()
    assert plain == {
        "optim_wrapper": dict(optimizer=dict(type="torch.optim.sgd.SGD", lr=0.01), clip_grad=dict(max_norm=math.inf)),
        "paramwise": dict(custom_keys={"backbone.conv": dict(lr_mult=0.5)}),
        "train_dataloader": dict(dataset=dict(data_root="a/b", indices=[0, 1, 2], splits=[0, 1])),
        "others": (1, None, True, -2.5, "x", {1, 2}, [-math.inf], b"y"),
    }
    assert type(plain["optim_wrapper"]["optimizer"]["lr"]) is float


def test_what_is_written_is_read_again(config, tmp_path):
    plain = plain_config(config)
    plain.launcher, plain.overwrite = "pytorch", True  # how it was started
    written = config_to_write(plain)
    written.dump(tmp_path / "written.py")
    expected = plain_config(config).to_dict()
    assert Config.fromfile(tmp_path / "written.py", lazy_import=False).to_dict() == expected
    record = {"config": written.pretty_text, "config_file": "values.py", "seed": 3}
    again = config_of(record, tmp_path).to_dict()
    assert {name: again[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("value", "name"), [(torch.nn.GELU, "GELU"), (torch.float16, "float16"), (lambda x: x, "lambda"), (object(), "obj")]
)
def test_what_no_file_can_contain_is_refused_by_its_key(value, name):
    with pytest.raises(ValueError, match=rf"model.head.0.act: .*{name}"):
        plain_config(Config(dict(model=dict(head=[dict(act=value)]))))


def test_a_class_that_cannot_be_imported_again_is_refused():
    class Local:
        pass

    with pytest.raises(ValueError, match=r"model.type: .*Local"):
        plain_config(Config(dict(model=dict(type=Local))))


def test_a_run_of_such_values_is_saved_and_repeated(tmp_path):
    optimizer = dict(type=torch.optim.SGD, lr=np.sqrt(1e-4))
    cfg = tiny.config(tmp_path / "first", epochs=1, optim_wrapper=dict(optimizer=optimizer))
    cfg.optim_wrapper.clip_grad = dict(max_norm=float("inf"))
    cfg.default_hooks.record = dict(type="RunRecordHook")
    tiny.train(Config(cfg.to_dict(), cfg_text="# a file", filename="my.py", format_python_code=False))
    again = Config.fromfile(tmp_path / "first/my.py", lazy_import=False)
    again.work_dir = str(tmp_path / "again")
    tiny.train(again)
    tiny.train(config_of(read_records(tmp_path / "first")["train"], tmp_path / "repeated"))
    for name in ("again", "repeated"):
        assert tiny.same_run(tmp_path / "first/epoch_1.pth", tmp_path / name / "epoch_1.pth") == []


def test_the_package_is_a_command():
    done = subprocess.run([sys.executable, "-m", "vdt3d", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("vdt3d ")
