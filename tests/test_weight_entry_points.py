"""Entry points of weights: what initialises accepts and refuses the same files, what uses a model demands all of it."""

from argparse import Namespace
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from published import behind, filled, linear, resnet
from torch import Tensor, nn

from vdt3d import Predictor, load_pretrained
from vdt3d.cli import convert, examine, publish
from vdt3d.engine import Runner
from vdt3d.engine.ensemble import loaded
from vdt3d.models.weights.files import CheckpointError
from vdt3d.registry import MODELS

WIDTH = 4
ONE = dict(width=WIDTH)
PICTURES = dict(width=WIDTH, dims=2, in_channels=3)
BACKBONE = dict(type="ResNet3D", depth=18, base_channels=WIDTH, depth_stride=True)
NECK = dict(type="GlobalAveragePooling", dim=3)
HEAD = dict(type="LinearClsHead", num_classes=2, in_channels=8 * WIDTH)


def without(shapes: Mapping[str, tuple], *parts: str) -> dict[str, tuple]:
    return {key: shape for key, shape in shapes.items() if not any(part in key for part in parts)}


def sequential(shapes: Mapping[str, tuple]) -> dict[str, tuple]:
    """The names that an nn.Sequential of a ResNet's children gives."""
    places = {"conv1": "0", "bn1": "1"} | {f"layer{number}": str(number + 3) for number in range(1, 5)}
    tops = {key: key.partition(".") for key in shapes}
    return {f"backbone.{places[top]}.{rest}": shapes[key] for key, (top, _, rest) in tops.items()}


WHOLE = behind("backbone.", resnet(18, **ONE)) | linear("head.fc", 2, 8 * WIDTH)
SE = {"layer1.0.se.fc1.weight": (1, WIDTH, 1, 1), "layer1.0.se.fc1.bias": (1,)}
# the file; whether it initialises with inflate='i3d'; whether it may be used as it is
FILES: dict[str, tuple[dict[str, tuple], bool, bool]] = {
    "whole model": (WHOLE, True, True),
    "whole model of DDP": (behind("module.", WHOLE), True, True),
    "backbone": (resnet(18, **ONE), True, False),
    "backbone of MoCo": (behind("module.encoder_q.", resnet(18, **ONE)) | {"module.queue": (8, 8)}, True, False),
    "backbone of Lightning": (behind("model.encoder.", resnet(18, **ONE)), True, False),
    "other classes": (behind("backbone.", resnet(18, **ONE)) | linear("head.fc", 5, 8 * WIDTH), True, False),
    "images": (resnet(18, **PICTURES) | linear("fc", 10, 8 * WIDTH), True, False),
    "images of four channels": (resnet(18, **PICTURES | dict(in_channels=4)), True, False),
    "images of RadImageNet": (sequential(resnet(18, **PICTURES)), True, False),
    "images with squeeze and excitation": (resnet(18, **PICTURES) | SE, False, False),
    "images, deeper": (resnet(34, **PICTURES), False, False),
    "images, other width": (resnet(18, **PICTURES | dict(width=8)), False, False),
    "no first convolution": (without(WHOLE, "backbone.conv1"), False, False),
    "no statistics of the norms": (without(WHOLE, "running"), False, False),
    "no second convolution of a block": (without(WHOLE, "layer2.1.conv2"), False, False),
    "another network": ({"encoder.0.weight": (4, 1, 3, 3, 3), "encoder.0.bias": (4,)}, False, False),
}


@cache
def state_of(name: str) -> dict[str, Tensor]:
    return filled(FILES[name][0])


def config(folder: Path, **settings: object) -> Config:
    model = dict(type="VolumeClassifier", backbone=BACKBONE, neck=NECK, head=HEAD)
    return tiny.config(folder, model=model, **settings)


def build(**settings: object) -> nn.Module:
    with DefaultScope.overwrite_default_scope("vdt3d"):
        return MODELS.build(dict(type="VolumeClassifier", backbone=BACKBONE, neck=NECK, head=HEAD, **settings))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the configs and runs, which all files share."""
    return tmp_path_factory.mktemp("runs")


# ---- entry points that initialise ----


@cache
def runner_of(folder: Path, inflate: str | None) -> Runner:
    return Runner.from_cfg(config(folder / str(inflate), **({} if inflate is None else {"inflate": inflate})))


@cache
def config_file(folder: Path, inflate: str | None) -> Path:
    path = folder / f"{inflate}.py"
    config(folder / "runs", **({} if inflate is None else {"inflate": inflate})).dump(path)
    return path


def by_load_from(path: Path, folder: Path, inflate: str | None) -> nn.Module:
    runner = runner_of(folder, inflate)
    runner.load_checkpoint(str(path))
    return runner.model


def by_init_cfg(path: Path, folder: Path, inflate: str | None) -> nn.Module:
    model = build(init_cfg=dict(type="Pretrained", checkpoint=str(path), inflate=inflate))
    model.init_weights()
    return model


def by_pretrained(path: Path, folder: Path, inflate: str | None) -> nn.Module:
    model = build(pretrained=str(path))
    model.init_weights()
    return model


def by_function(path: Path, folder: Path, inflate: str | None) -> nn.Module:
    model = build()
    load_pretrained(model, path, inflate=inflate)
    return model


def by_examine(path: Path, folder: Path, inflate: str | None) -> None:
    examine.fit(torch.load(path, weights_only=True), str(path), config_file(folder, inflate))


def by_convert(path: Path, folder: Path, inflate: str | None) -> None:
    args = Namespace(src=str(path), arch=str(config_file(folder, None)), how=inflate)
    convert.fitted(torch.load(path, weights_only=True), args)


# With which ``inflate`` each is tried: ``pretrained=`` takes a path alone, convert always inflates.
INITIALISING = {
    by_load_from: ("i3d", None),
    by_init_cfg: ("i3d", None),
    by_pretrained: (None,),
    by_function: ("i3d", None),
    by_examine: ("i3d",),  # reading a config takes long
    by_convert: ("i3d",),
}


@pytest.mark.parametrize("name", FILES)
def test_entry_points_that_initialise_give_one_verdict(name: str, tmp_path: Path, folder: Path):
    path = tmp_path / "a.pth"
    torch.save(state_of(name), path)
    for inflate in ("i3d", None):
        accepted = FILES[name][1] and (inflate is not None or not name.startswith("images"))
        verdicts = {}
        for entry in (entry for entry, ways in INITIALISING.items() if inflate in ways):
            try:
                model = entry(path, folder, inflate)
            except CheckpointError as error:
                verdicts[entry.__name__] = str(error)
            else:
                verdicts[entry.__name__] = "accepted"
                if model is not None:
                    check_kernels(model, state_of(name))
        assert len(set(verdicts.values())) == 1, verdicts
        assert (set(verdicts.values()) == {"accepted"}) == accepted, verdicts


def check_kernels(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """The last convolution of the network is the file's, its 2D kernel repeated along depth."""
    kernel = next(value for key, value in state.items() if key.endswith((".1.conv2.weight",)) and len(value) == 32)
    expected = kernel.unsqueeze(2).repeat(1, 1, 3, 1, 1) / 3 if kernel.dim() == 4 else kernel
    torch.testing.assert_close(model.backbone.layer4[1].conv2.weight.data.cpu(), expected)


# ---- entry points that use a model as it is ----


def by_test(path: Path, folder: Path) -> None:
    runner_of(folder, None).load_checkpoint(str(path), heads=True)


def by_predictor(path: Path, folder: Path) -> None:
    Predictor(config_file(folder, None), path, device="cpu")


def by_ensemble(path: Path, folder: Path) -> None:
    loaded(config(folder), str(path), torch.device("cpu"))


def by_publish(path: Path, folder: Path) -> None:
    args = Namespace(src=str(path), config=config_file(folder, None), backbone_only=False)
    publish.weights_of({"state_dict": torch.load(path, weights_only=True)}, build(), args)


USING: list[Callable[[Path, Path], None]] = [by_test, by_predictor, by_ensemble, by_publish]


@pytest.mark.parametrize("name", FILES)
def test_entry_points_that_use_a_model_demand_all_of_it(name: str, tmp_path: Path, folder: Path):
    path = tmp_path / "a.pth"
    torch.save(state_of(name), path)
    verdicts = {}
    for entry in USING:
        try:
            entry(path, folder)
        except CheckpointError as error:
            verdicts[entry.__name__] = str(error)
        else:
            verdicts[entry.__name__] = "accepted"
    assert len(set(verdicts.values())) == 1, verdicts
    assert (set(verdicts.values()) == {"accepted"}) == FILES[name][2], verdicts
