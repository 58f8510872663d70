"""Names at the top level of config files: each is a setting, in use, or refused with the nearest setting."""

from pathlib import Path

import pytest
import tiny
from mmengine.config import Config

from vdt3d.cli import main
from vdt3d.engine import Runner
from vdt3d.engine.config_names import check_names


def check(folder: Path, text: str, **bases: str) -> None:
    """Check a config file of this text, beside its bases by name."""
    for name, base in bases.items():
        (folder / f"{name}.py").write_text(base)
    path = folder / "config.py"
    path.write_text(text)
    check_names(Config.fromfile(path, lazy_import=False), path)


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("load_form = 'a.pth'", "'load_from'"),
        ("custom_hook = []", "'custom_hooks'"),
        ("optim_wraper = dict()", "'optim_wrapper'"),
        ("channel_last = True", "'channels_last'"),
        ("for lod_from in [1]: pass", "'load_from'"),
        ("gradient_checks = 3", "gradient_checks"),
    ],
)
def test_a_name_that_nothing_reads_is_refused(tmp_path: Path, wrong: str, near: str):
    with pytest.raises(ValueError, match=wrong.removeprefix("for ").split()[0]) as refusal:
        check(tmp_path, f"model = dict()\n{wrong}")
    assert near in str(refusal.value) and "config.py" in str(refusal.value)


def test_a_misspelt_setting_of_a_base_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"base\.py.*'load_form'.*'load_from'"):
        check(tmp_path, "_base_ = 'base.py'\nmodel = dict()", base="load_form = 'a.pth'")


def test_a_name_that_only_a_base_has_used_is_refused(tmp_path: Path):
    base = "root = 'a'\ntrain_dataloader = dict(dataset=dict(data_root=root))"
    with pytest.raises(ValueError, match=r"config\.py.*'root'"):
        check(tmp_path, "_base_ = 'base.py'\nroot = 'b'", base=base)


@pytest.mark.parametrize(
    "text",
    [
        "width = 3\nmodel = dict(width=width)",
        "width = 3\nmodel = [dict(width=width * n) for n in range(3)]",
        "_note = 'mine'",
        "import math\nfrom pathlib import Path\nmodel = dict(width=math.pi)",
        "def double(x):\n    y = 2 * x\n    return y\nmodel = dict(width=double(2))",
        "width = 3\nmodel = dict(width=eval('width'))",
        "width = 3\nmodel = dict()\nmodel.update(width=width)\ndel width",
        "runner_type = 'vdt3d.Runner'\ncustom_imports = dict(imports=['math'])\ninflate = 'i3d'",
    ],
)
def test_settings_and_names_in_use_are_accepted(tmp_path: Path, text: str):
    check(tmp_path, text)


def test_names_that_children_use_are_accepted(tmp_path: Path):
    base = "width = 3\nother = 4\nthird = 5\nspare_pipeline = []"
    child = "_base_ = ['base.py']\nmodel = dict(width=_base_.width, o='{{_base_.other}}', t=_base_['third'])"
    check(tmp_path, child, base=base)


def test_the_file_of_a_finished_run_is_accepted(tmp_path: Path):
    config = tiny.config(tmp_path)
    config.used_by_the_file = 3
    config.dump(tmp_path / "dumped.py")
    check_names(config, tmp_path / "dumped.py")
    config.load_form = "a.pth"
    config.dump(tmp_path / "dumped.py")
    with pytest.raises(ValueError, match="'load_form'"):
        check_names(config, tmp_path / "dumped.py")


def test_a_runner_gets_settings_only(tmp_path: Path):
    path = tmp_path / "mine.py"
    path.write_text("seed = 5\nrandomness = dict(seed=seed)")
    config = Config({**tiny.config(tmp_path).to_dict(), **Config.fromfile(path).to_dict()}, filename=str(path))
    runner = Runner.from_cfg(config)
    assert runner.seed == 5 and "seed" not in runner.cfg and config.seed == 5
    assert "seed" not in Runner.from_cfg(Config(config.to_dict())).cfg
    with pytest.raises(ValueError, match="'load_from'"):
        Runner.from_cfg(Config(config.to_dict() | dict(load_form="a.pth")))


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("model = dict()\nload_form = 'a.pth'", [], ["config.py", "'load_form'", "'load_from'"]),
        ("from mmengine.config import read_base\nwith read_base():\n    from .a import *", [], ["config.py", "_base_"]),
        ("model = 3", ["model.head.width=3"], ["model.head.width"]),
    ],
)
def test_a_wrong_config_ends_in_one_line(tmp_path: Path, text: str, options: list[str], words: list[str], capsys):
    (tmp_path / "config.py").write_text(text)
    with pytest.raises(SystemExit) as left:
        main(["print-config", str(tmp_path / "config.py"), *(["--cfg-options", *options] if options else [])])
    message = capsys.readouterr().err
    assert left.value.code == 2
    assert [word for word in words if word not in message] == [] and message.count("\n") == 1
