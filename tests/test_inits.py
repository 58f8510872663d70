"""The reader of configs: which initialisation and which window of slices a config stands for once it is read."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import tiny
from mmengine.config import Config

from vdt3d.apis.predictor import Predictor
from vdt3d.cli.config import load_run_config
from vdt3d.engine import Runner
from vdt3d.engine.config import init_names, read_config, resolve_config
from vdt3d.engine.run_record import describe

BASE = """
model = dict(type="VolumeClassifier", backbone=dict(type="ResNet3D", depth=18, in_channels=1))
inits = {
    "scratch": dict(load_from=None),
    "vdt": dict(load_from="vdt.pth"),
    "i3d": dict(load_from="flat.pth", inflate="i3d"),
    "acs": dict(load_from="flat.pth", model=dict(backbone=dict(conv="acs"))),
    "unet": dict(load_from="unet.pth", model=dict(backbone=dict(_delete_=True, type="UNet3D"))),
}
init = "scratch"
"""
WINDOWS = """
model = dict(type="SliceWindowSegmentor")
window = dict(slices=5)
train_dataloader = dict(dataset=dict(type="SliceWindows", dataset=dict(type="MSD", window=3)))
val_dataloader = dict(dataset=dict(type="MSD"))
"""


def write(folder: Path, text: str, name: str = "config.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def read(folder: Path, child: str = "", base: str = BASE, **overrides: Any) -> Config:
    """Read a child of ``BASE``; in the names of overrides, ``__`` stands for a dot."""
    write(folder, base, "base.py")
    path = write(folder, f'_base_ = "base.py"\n{child}\n')
    return read_config(path, {key.replace("__", "."): value for key, value in overrides.items()})


def weights(config: Config) -> tuple[str | None, str | None, str | None]:
    return config.get("init_name"), config.get("load_from"), config.get("inflate")


# ---- initialisations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected", "backbone"),
    [
        ("scratch", ("scratch", None, None), dict(type="ResNet3D", depth=18, in_channels=1)),
        ("i3d", ("i3d", "flat.pth", "i3d"), dict(type="ResNet3D", depth=18, in_channels=1)),
        ("acs", ("acs", "flat.pth", None), dict(type="ResNet3D", depth=18, in_channels=1, conv="acs")),
        ("unet", ("unet", "unet.pth", None), dict(type="UNet3D")),
    ],
)
def test_the_settings_of_an_initialisation_are_merged_over_the_config(tmp_path, name, expected, backbone):
    for config in (read(tmp_path, init=name), read(tmp_path, f"init = {name!r}")):
        assert weights(config) == expected and config.model.backbone == backbone
        assert "init" not in config and "inits" not in config


def test_weights_that_the_file_names_stay_for_its_own_initialisation_only(tmp_path):
    child = 'init = "i3d"\nload_from = "mine.pth"'
    assert weights(read(tmp_path, child)) == ("i3d", "mine.pth", "i3d")
    assert weights(read(tmp_path, child, init="vdt")) == ("vdt", "vdt.pth", None)
    assert weights(read(tmp_path, child, init="scratch")) == ("scratch", None, None)
    assert weights(read(tmp_path, child, load_from="other.pth")) == ("i3d", "other.pth", "i3d")
    assert weights(read(tmp_path, init="i3d", inits__i3d__load_from="other.pth")) == ("i3d", "other.pth", "i3d")


def test_a_name_that_the_weights_belie_is_not_recorded(tmp_path):
    assert weights(read(tmp_path, 'load_from = "mine.pth"')) == (None, "mine.pth", None)
    assert weights(read(tmp_path, load_from="mine.pth")) == (None, "mine.pth", None)
    assert weights(read(tmp_path, 'init = "vdt"', load_from=None)) == (None, None, None)


@pytest.mark.parametrize(
    ("child", "overrides", "words"),
    [
        ("", dict(init="asc"), ["'asc'", "scratch, vdt, i3d, acs, unet", "'acs'"]),
        ("", dict(init=None), ["None", "scratch"]),
        ("", dict(init="scratch", load_from="mine.pth"), ["scratch", "mine.pth"]),
        ("init = 'vdt'\nload_from = None", {}, ["load_from=None", "vdt.pth"]),
        ("inits = dict(acs=dict(lod_from='x'))", dict(init="acs"), ["inits.acs", "'lod_from'", "'load_from'"]),
        ("inits = dict(_delete_=True, acs='x.pth')", dict(init="acs"), ["inits", "x.pth"]),
        ("inits = None", dict(init="medicalnet"), ["medicalnet", "scratch", "2.5d"]),
        ("inits = None\nmodel = dict(backbone=dict(base_channels=16))", dict(init="i3d"), ["i3d", "load_from"]),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path, child, overrides, words):
    with pytest.raises(ValueError, match=r"config\.py") as refusal:
        read(tmp_path, child, **overrides)
    assert [word for word in words if word not in str(refusal.value)] == []


def test_a_config_without_a_table_has_the_initialisations_of_its_backbone(tmp_path):
    own = "inits = init = None"
    assert weights(read(tmp_path, own)) == (None, None, None)
    assert weights(read(tmp_path, own, init="i3d")) == ("i3d", "torchvision://resnet18", "i3d")
    assert read(tmp_path, own, init="2.5d").model.backbone.conv == "2.5d"
    assert weights(read(tmp_path, own + "\nload_from = 'mine.pth'", init="pretrained"))[1] == "mine.pth"
    assert init_names(tmp_path / "config.py") == ["scratch", "pretrained", "i3d", "centre", "acs", "2.5d"]
    write(tmp_path, 'model = dict(backbone=dict(type="Convert2d", model="torchvision.resnet50", how="i3d"))')
    converted = read_config(tmp_path / "config.py", {"init": "acs"})
    assert converted.model.backbone.how == "acs" and converted.load_from == "torchvision://resnet50"
    write(tmp_path, 'model = dict(backbone=dict(type="UNet3D"))\nload_from = "mine.pth"\ninflate = "i3d"')
    assert init_names(tmp_path / "config.py") == ["scratch", "pretrained"]
    assert weights(read_config(tmp_path / "config.py", {"init": "pretrained"})) == ("pretrained", "mine.pth", "i3d")


def test_a_dumped_config_is_read_as_it_was_resolved(tmp_path):
    config = read(tmp_path, init="acs")
    config.dump(tmp_path / "dumped.py")
    assert read_config(tmp_path / "dumped.py").to_dict() == config.to_dict()
    with pytest.raises(ValueError, match=r"dumped\.py.*init='acs'"):
        read_config(tmp_path / "dumped.py", {"init": "i3d"})


def test_the_name_is_part_of_the_work_directory_and_of_the_record(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, BASE)

    def run(*options: str) -> Config:
        return load_run_config(Namespace(config=path, cfg_options=list(options), work_dir=None, launcher=None))

    assert [run().work_dir, run("init=acs").work_dir] == ["work_dirs/config", "work_dirs/config_acs"]
    settings = tiny.config(tmp_path, inits=dict(scratch=dict(load_from=None)), init="scratch")
    runner = Runner.from_cfg(settings)  # a config that no reader has resolved
    assert describe(runner, ())["init"] == runner.cfg.init_name == "scratch" and "inits" in settings


def test_predictors_read_configs_as_commands_do(tmp_path):
    path = write(tmp_path, f"{BASE}load_form = 'x.pth'")
    with pytest.raises(ValueError, match=r"config\.py.*'load_form'.*'load_from'"):
        Predictor(path, "x.pth")
    with pytest.raises(FileNotFoundError, match=r"resnet3d-18_acs_.* was removed"):
        Predictor("configs/lidc/resnet3d-18_acs_4xb32-step-100e_lidc.py", "x.pth")


# ---- windows ---------------------------------------------------------------------------------------------------------


def windows(config: Config) -> list[dict]:
    return [config.model.window, config.train_dataloader.dataset.window]


def test_a_window_reaches_the_model_and_its_data(tmp_path):
    config = read(tmp_path, base=WINDOWS)
    assert windows(config) == [{"slices": 5}] * 2 and "window" not in config
    assert config.train_dataloader.dataset.dataset.window == 3 and "window" not in config.val_dataloader.dataset
    assert windows(read(tmp_path, "window = dict(stride=2)", WINDOWS)) == [{"slices": 5, "stride": 2}] * 2
    assert windows(read(tmp_path, "", WINDOWS, window__slices=1)) == [{"slices": 1}] * 2
    config.dump(tmp_path / "dumped.py")
    again = read_config(tmp_path / "dumped.py", {"window.stride": 2})
    assert windows(again) == [{"slices": 5, "stride": 2}] * 2
    assert resolve_config(again) is again


def test_parts_that_were_given_the_same_window_are_accepted(tmp_path):
    child = "window = dict(slices=3)\nmodel = dict(window=window)\ntrain_dataloader = dict(dataset=dict(window=window))"
    assert windows(read(tmp_path, child, WINDOWS)) == [{"slices": 3}] * 2


@pytest.mark.parametrize(
    ("child", "overrides", "words"),
    [
        ("model = dict(window=dict(slices=3))", {}, ["model.window", "slices=3", "{'slices': 5}"]),
        (
            "train_dataloader = dict(dataset=dict(window=dict(stride=2)))",
            {},
            ["train_dataloader.dataset.window", "stride=2"],
        ),
        ("model = dict(type='VolumeSegmentor')", dict(window__slices=3), ["window.slices", "VolumeSegmentor"]),
        ("model = dict(type='VolumeSegmentor')\nwindow = dict(slices=3)", {}, ["'window'"]),
    ],
)
def test_windows_that_contradict_one_another_are_refused(tmp_path, child, overrides, words):
    with pytest.raises(ValueError, match=r"config\.py") as refusal:
        read(tmp_path, child, WINDOWS, **overrides)
    assert [word for word in words if word not in str(refusal.value)] == []


def test_another_thing_called_window_is_left_alone(tmp_path):
    text = 'window = (8, 8, 8)\nmodel = dict(type="VolumeSegmentor", test_cfg=dict(inferer=dict(window=window)))'
    assert read_config(write(tmp_path, text)).model.test_cfg.inferer.window == (8, 8, 8)
