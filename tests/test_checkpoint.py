"""Checkpoints as files and as weights: what is read, what is refused and why, and what a load reports."""

import os
import re
import tarfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from vdt3d.models.weights.files import (
    CheckpointError,
    plain,
    read_any,
    read_checkpoint,
    state_dict_of,
    write_checkpoint,
)
from vdt3d.models.weights.load import load_pretrained, load_weights
from vdt3d.registry import MODELS

WEIGHTS = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.zeros(2)}


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return (os.mkdir, (str(self.target),))


# ---- reading and writing ----


def test_what_is_written_is_read(tmp_path):
    content = {"state_dict": OrderedDict(WEIGHTS), "meta": {"epoch": 3, "names": ["a", "b"], "best": None}}
    write_checkpoint(content, tmp_path / "a.pth")
    read = read_checkpoint(tmp_path / "a.pth")
    assert read["meta"] == content["meta"]
    assert all(torch.equal(read["state_dict"][key], WEIGHTS[key]) for key in WEIGHTS)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [(np.float64(1), "float64"), (torch.__version__, "TorchVersion"), ({1}, "set"), (len, "builtin")],
)
def test_only_what_can_be_read_again_is_written(tmp_path, value, kind):
    (tmp_path / "a.pth").write_bytes(b"old")
    with pytest.raises(CheckpointError, match=re.escape(f"a.pth['meta'][0] is a {kind}")):
        write_checkpoint({"meta": [value]}, tmp_path / "a.pth")
    assert (tmp_path / "a.pth").read_bytes() == b"old"


def test_plain_makes_numpy_plain():
    value = {"a": np.float32(0.5), "b": (np.arange(2), {3}), "c": OrderedDict(d=None)}
    assert plain(value) == {"a": 0.5, "b": [[0, 1], [3]], "c": {"d": None}}


def test_safetensors(tmp_path):
    safetensors.torch.save_file(WEIGHTS, tmp_path / "a.safetensors")
    assert torch.equal(read_any(str(tmp_path / "a.safetensors"))["weight"], WEIGHTS["weight"])
    whole = (tmp_path / "a.safetensors").read_bytes()
    for cut in (0, 4, 60, len(whole) - 1):
        (tmp_path / "cut.safetensors").write_bytes(whole[:cut])
        with pytest.raises(CheckpointError, match=r"cut.safetensors: not a whole safetensors file .* again"):
            read_checkpoint(tmp_path / "cut.safetensors")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_cut_anywhere_is_refused_by_name(tmp_path, zipped):
    torch.save(WEIGHTS, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    whole = (tmp_path / "a.pth").read_bytes()
    for cut in range(0, len(whole) - 1, max(len(whole) // 40, 1)):
        (tmp_path / "cut.pth").write_bytes(whole[:cut])
        with pytest.raises(CheckpointError, match=r"cut\.pth: "):
            read_checkpoint(tmp_path / "cut.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.pth: not a whole checkpoint"),
        (b"\n <!DOCTYPE html><html><body>404</body></html>", "a.pth: is a web page, not a checkpoint; the download"),
        (b"<HTML>", "a.pth: is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "a.pth: is no checkpoint"),
        (bytes(range(256)) * 8, "a.pth: "),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path, content, message):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "a.pth")


def test_other_contents_and_places_are_named(tmp_path):
    torch.save([WEIGHTS], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match=r"list.pth: holds a list, not a dictionary"):
        read_checkpoint(tmp_path / "list.pth")
    with tarfile.open(tmp_path / "tar.pth", "w") as archive:
        archive.add(tmp_path / "list.pth", "pickle")
    with pytest.raises(CheckpointError, match=r"tar\.pth: "):
        read_checkpoint(tmp_path / "tar.pth")
    with pytest.raises(FileNotFoundError, match="there is no such checkpoint"):
        read_checkpoint(tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="'s3://' is not supported; give a path"):
        read_any("s3://bucket/a.pth")
    with pytest.raises(CheckpointError, match="holds no tensors"):
        state_dict_of({"state_dict": {"epoch": 3}})


def test_code_is_refused_and_does_not_run(tmp_path):
    for name, zipped in (("zip.pth", True), ("old.pth", False)):
        torch.save({**WEIGHTS, "x": Bomb(tmp_path / "ran")}, tmp_path / name, _use_new_zipfile_serialization=zipped)
        with pytest.raises(CheckpointError, match=r"refused, because it holds 'posix.mkdir', .* can run code"):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_training_checkpoints_of_mmengine_are_refused_with_a_way_out(tmp_path):
    log = {"message_hub": {"log_scalars": {"train/loss": HistoryBuffer([1.0], [1])}}}
    torch.save({"state_dict": WEIGHTS, **log}, tmp_path / "epoch_1.pth")
    with pytest.raises(CheckpointError, match=r"'mmengine.*HistoryBuffer', .* save its state_dict alone"):
        read_checkpoint(tmp_path / "epoch_1.pth")


# ---- loading: examples small enough to count ----


class Small(nn.Module):
    """A backbone of four tensors (two layers of weight and bias), a neck of two and a head of two."""

    def __init__(self, classes: int = 2):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4))
        self.neck = nn.Linear(4, 4)
        self.head = nn.Linear(4, classes)


def filled(classes: int = 2) -> dict[str, torch.Tensor]:
    return {key: torch.full_like(value, 7.0) for key, value in Small(classes).state_dict().items()}


def part(state: dict, prefix: str, new: str = "") -> dict:
    return {new + key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def test_a_report_names_every_key():
    model = Small()
    state = {**part(filled(), "backbone.", "module."), "module.fc.weight": torch.zeros(9, 4)}
    report = load_weights(model, state, name="a.pth")
    backbone = ("backbone.0.weight", "backbone.0.bias", "backbone.1.weight", "backbone.1.bias")
    assert report.used == backbone
    assert report.changed == tuple((key.replace("backbone.", "module."), key) for key in backbone)
    assert report.left == ("module.fc.weight",)
    assert report.missing == ("neck.weight", "neck.bias", "head.weight", "head.bias")
    assert (report.part, report.matched) == (("backbone",), 1.0)
    assert str(report).splitlines() == [
        "a.pth: 4 of 8 tensors filled",
        "  4 under another name, e.g. module.0.weight -> backbone.0.weight",
        "  4 missing in the file: neck.weight, neck.bias, head.weight, head.bias",
        "  1 left over in the file: module.fc.weight",
    ]
    assert all((model.state_dict()[key] == 7).all() for key in backbone)
    assert not (model.head.weight == 7).any()


def test_a_head_of_other_classes_is_left_over_and_said_or_refused():
    model = Small(classes=2)
    before = model.head.weight.clone()
    report = load_weights(model, filled(classes=5))
    shapes = {"head.weight": "file (5, 4), model (2, 4)", "head.bias": "file (5,), model (2,)"}
    assert (report.unlike, report.left, report.missing) == (shapes, (), ())
    assert str(report).endswith(
        "6 of 8 tensors filled\n"
        "  2 of another shape: head.weight (file (5, 4), model (2, 4)), head.bias (file (5,), model (2,))"
    )
    assert (report.part, report.matched) == (("backbone", "neck"), 1.0)
    assert torch.equal(model.head.weight, before)
    with pytest.raises(CheckpointError, match=r"head.weight \(file \(5, 4\)(.|\n)*only 75%") as refusal:
        load_weights(model, filled(classes=5), heads=True, min_matched=1.0)
    assert "min_matched" not in str(refusal.value)  # all must match


def test_too_little_is_refused_and_nothing_loaded():
    model, state = Small(), part(filled(), "backbone.")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    del state["0.weight"]
    with pytest.raises(CheckpointError, match=r"67%.*backbone.*90%") as refusal:
        load_weights(model, state, name="a.pth")
    assert "a.pth: 3 of 8" in str(refusal.value)
    assert "min_matched below 0.67" in str(refusal.value)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    # 24 of the backbone's 36 numbers
    assert load_weights(model, state, min_matched=0.6).matched == 24 / 36
    with pytest.raises(CheckpointError, match="0%"):
        load_weights(model, {"a": torch.zeros(3), "b": torch.zeros(4)}, min_matched=0.0)


def test_nine_of_ten_are_enough():
    net = nn.ParameterList([torch.zeros(1) for _ in range(20)])
    state = {str(number): torch.ones(1) for number in range(20)}
    assert load_weights(net, {key: state[key] for key in list(state)[:18]}).matched == 0.9
    with pytest.raises(CheckpointError, match="85%"):
        load_weights(net, {key: state[key] for key in list(state)[:17]})


# ---- the released layout ----


def backbone18() -> nn.Module:
    return MODELS.build({"type": "ResNet3D", "depth": 18, "in_channels": 1, "base_channels": 2})


def classifier18(classes: int = 2) -> nn.Module:
    return MODELS.build(
        {
            "type": "VolumeClassifier",
            "backbone": {"type": "ResNet3D", "depth": 18, "in_channels": 1, "base_channels": 2},
            "neck": {"type": "GlobalAveragePooling", "dim": 3},
            "head": {"type": "LinearClsHead", "num_classes": classes},
        }
    )


@pytest.mark.parametrize("inside", [False, True], ids=["bare", "in state_dict"])
@pytest.mark.parametrize("heads", ["", "head.fc.", "fc."], ids=["no head", "head", "fc"])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone.", "model.", "model.backbone."])
def test_a_released_file_fills_all_of_a_backbone_alone_and_in_a_classifier(tmp_path, prefix, heads, inside):
    state = {prefix + key: torch.full_like(value, 2) for key, value in backbone18().state_dict().items()}
    assert len(state) == 120
    if heads:
        outer = prefix.removesuffix("backbone.") + heads
        state |= {f"{outer}weight": torch.zeros(1000, 16), f"{outer}bias": torch.zeros(1000)}
    torch.save({"state_dict": state, "meta": {"epoch": 100}} if inside else state, tmp_path / "released.pth")
    for model in (backbone18(), classifier18()):
        report = load_pretrained(model, tmp_path / "released.pth")
        assert (len(report.used), report.matched) == (120, 1.0)
        assert len(report.left) + len(report.unlike) == (2 if heads else 0)  # the model's own head has other classes
        backbone = getattr(model, "backbone", model)
        assert all((value == 2).all() for value in backbone.state_dict().values())


def test_files_without_batch_counts_fill_the_rest():
    state = {k: v for k, v in backbone18().state_dict().items() if not k.endswith("num_batches_tracked")}
    assert len(state) == 100
    report = load_weights(backbone18(), state)
    assert (len(report.used), len(report.missing), report.matched) == (100, 20, 1.0)


@pytest.mark.parametrize("prefix", ["net.", "encoder.", "module.encoder_q.", "model.encoder.", "a.b.c."])
def test_the_prefix_of_any_wrapper_is_found(prefix):
    state = backbone18().state_dict()
    twin = prefix.replace("_q", "_k").replace("net", "teacher").replace("encoder.", "ema_encoder.").replace("c.", "d.")
    given = {prefix + key: torch.full_like(value, 2) for key, value in state.items()}
    given |= {twin + key: torch.full_like(value, 3) for key, value in state.items()} | {"queue": torch.zeros(8, 4)}
    for model in (backbone18(), classifier18()):
        report = load_weights(model, given)
        assert (len(report.used), len(report.left), report.matched) == (120, 121, 1.0)
        assert all((value == 2).all() for value in getattr(model, "backbone", model).state_dict().values())


def test_files_without_the_batch_counts_of_some_norms_fill_a_whole_model():
    state = {key: value for key, value in classifier18().state_dict().items() if "layer1.0.bn1.num_b" not in key}
    assert load_weights(classifier18(), state, min_matched=1.0, heads=True).matched == 1


def test_another_depth_is_refused():
    deep = MODELS.build({"type": "ResNet3D", "depth": 50, "in_channels": 1, "base_channels": 2})
    with pytest.raises(CheckpointError, match="depth, channels, norm"):
        load_weights(backbone18(), deep.state_dict())
