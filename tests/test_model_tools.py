"""The commands around weights: listing and fetching, 2D to 3D as a file, passing on, and telling what a file is."""

import hashlib
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import safetensors.torch
import tiny
import torch
import yaml
from mmengine.config import Config

from vdt3d.cli import main, publish
from vdt3d.cli.config import load_model
from vdt3d.cli.convert import CONVS, network_of
from vdt3d.engine import Runner
from vdt3d.models.weights import zoo
from vdt3d.models.weights.files import read_checkpoint, state_dict_of
from vdt3d.registry import MODELS

ROOT = Path(__file__).resolve().parents[1]


def refused(words: list[object], capsys) -> str:
    """What a command says that leaves with 2; it wraps nothing."""
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    said = capsys.readouterr().err
    assert left.value.code == 2 and said.startswith(f"vdt3d {words[0]}: error: "), said
    return said


def run(words: list[object], capsys) -> str:
    main([str(word) for word in words])
    return capsys.readouterr().out


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes; Python ignores the signal that comes with it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


NOT_WRITTEN = "it was not written, and what was there before is whole: "


# ---- download ----


def test_the_list_shows_every_entry(capsys):
    said = run(["download"], capsys)
    assert run(["download", "--list"], capsys) == said
    lines = {line.split()[0]: line for line in said.splitlines() if line.strip()}
    assert [*lines] == ["name", *(entry.name for entry in zoo.entries())]
    assert "Top 1 Accuracy 69.758 (ImageNet-1k)" in lines["torchvision-resnet18"]
    assert "BSD-3-Clause" in lines["torchvision-resnet18"] and "46.8 MB" in lines["torchvision-resnet18"]
    assert "unknown" in lines["vdt-resnet3d-18-gn"] and "by hand" in lines["vdt-resnet3d-18-gn"]


def test_download_takes_a_file_fetched_by_hand(tmp_path, capsys, monkeypatch):
    entry = zoo.Entry("ours", "task", "data", {}, "data", "MIT", "ours.pth", page="https://host")
    monkeypatch.setattr(zoo, "entries", lambda: [entry])
    monkeypatch.setattr(zoo, "cache_folder", lambda: tmp_path / "cache")
    (tmp_path / "a.pth").write_bytes(b"weights")
    said = run(["download", "ours", "--from", tmp_path / "a.pth"], capsys)
    assert said.splitlines()[-1] == str(tmp_path / "cache/ours.pth")
    assert (tmp_path / "cache/ours.pth").read_bytes() == b"weights"
    assert "did you mean 'ours'" in refused(["download", "our"], capsys)
    assert "say as which NAME" in refused(["download", "--from", "a.pth"], capsys)
    assert "Is a directory" in refused(["download", "ours", "--from", tmp_path], capsys)


def test_a_full_disk_keeps_no_half_of_a_file_fetched_by_hand(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(zoo, "entries", lambda: [zoo.Entry("ours", "task", "data", {}, "data", "MIT", "ours.pth")])
    monkeypatch.setattr(zoo, "cache_folder", lambda: tmp_path / "cache")
    (tmp_path / "a.pth").write_bytes(b"weights" * 1000)
    with full_disk(1000):
        said = refused(["download", "ours", "--from", tmp_path / "a.pth"], capsys)
    assert NOT_WRITTEN + repr(str(tmp_path / "cache/ours.pth")) in said
    assert list((tmp_path / "cache").iterdir()) == []


# ---- convert ----

FLAT = {
    "conv1.weight": torch.arange(2 * 3 * 5 * 5.0).view(2, 3, 5, 5),
    "conv2.weight": torch.arange(2 * 2 * 3.0).view(2, 2, 1, 3),
    "bn1.weight": torch.tensor([3.0, 4.0]),
    "scale": torch.ones(2, 1, 1),
    "fc.weight": torch.ones(7, 2),
}


@pytest.fixture
def flat(tmp_path) -> Path:
    """A checkpoint of a 2D network."""
    torch.save({"state_dict": FLAT}, tmp_path / "flat.pth")
    return tmp_path / "flat.pth"


@pytest.mark.parametrize(
    ("how", "first", "second", "scale"),
    [
        ("i3d", (2, 3, 5, 5, 5), (2, 2, 3, 1, 3), (2, 1, 1, 1)),  # as deep as wide
        ("centre", (2, 3, 5, 5, 5), (2, 2, 3, 1, 3), (2, 1, 1, 1)),
        ("2.5d", (2, 3, 1, 5, 5), (2, 2, 1, 1, 3), (2, 1, 1, 1)),
        ("acs", (2, 3, 5, 5), (2, 2, 1, 3), (2, 1, 1, 1)),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_2d_weights_become_3d_ones(flat, how, first, second, scale, suffix, capsys):
    out = flat.with_name("new") / f"a{suffix}"
    said = run(["convert", flat, out, "--how", how], capsys)
    content = read_checkpoint(out)
    state = state_dict_of(content)
    assert content["meta"] == {"source": "flat.pth", "how": how, "arch": None}
    assert [tuple(state[key].shape) for key in FLAT] == [first, second, (2,), scale, (7, 2)]
    assert torch.equal(state["bn1.weight"], FLAT["bn1.weight"])
    kernel = state["conv1.weight"]
    # However it is filled, the kernel summed over depth is the old one: to equal slices it answers as to one picture.
    assert torch.allclose(kernel.sum(2) if kernel.ndim == 5 else kernel, FLAT["conv1.weight"])
    if how == "centre":
        assert torch.equal(kernel[:, :, 2], FLAT["conv1.weight"])
    assert " x ".join(map(str, first[2:])) in said and said.splitlines()[-1] == str(out)


def test_convert_keeps_files_and_wants_2d_kernels(flat, tmp_path, capsys):
    deep = tmp_path / "deep.pth"
    run(["convert", flat, deep, "--how", "i3d"], capsys)
    before = deep.read_bytes()
    assert f"{deep} exists already" in refused(["convert", flat, deep, "--how", "acs"], capsys)
    assert deep.read_bytes() == before
    weights, link = flat.read_bytes(), tmp_path / "link.pth"
    link.hardlink_to(flat)
    for target in (flat, link):  # the input stays, come what may
        assert str(target) in refused(["convert", flat, target, "--how", "i3d", "--overwrite"], capsys)
    assert flat.read_bytes() == weights
    run(["convert", flat, deep, "--how", "centre", "--overwrite"], capsys)
    assert deep.read_bytes() != before
    words = ["convert", deep, tmp_path / "deeper.pth", "--how", "i3d"]
    assert "deep.pth: has no 2D kernels to convert" in refused(words, capsys)
    assert "neither resnet3d-DEPTH" in refused(["convert", flat, tmp_path / "b", "--how", "acs", "--arch", "x"], capsys)
    assert not (tmp_path / "deeper.pth").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_full_disk_keeps_no_half_of_what_was_converted(flat, suffix, capsys):
    out = flat.with_name(f"deep{suffix}")
    with full_disk(1000):
        said = refused(["convert", flat, out, "--how", "i3d"], capsys)
    assert NOT_WRITTEN + repr(str(out)) in said
    assert list(flat.parent.iterdir()) == [flat]


BACKBONE = dict(type="ResNet3D", depth=10, base_channels=2, stem_channels=2)


def config_file(folder: Path, **backbone) -> Path:
    """A classifier narrow enough for a test."""
    head = dict(type="LinearClsHead", num_classes=2, in_channels=16)
    neck = dict(type="GlobalAveragePooling", dim=3)
    model = dict(type="VolumeClassifier", backbone=dict(BACKBONE, **backbone), neck=neck, head=head)
    Config(dict(default_scope="vdt3d", model=model)).dump(folder / "tiny_data.py")
    return folder / "tiny_data.py"


@pytest.fixture
def colours(tmp_path) -> Path:
    """2D weights of that backbone, for three colours."""
    network = MODELS.build(dict(BACKBONE, conv="acs", in_channels=3))
    torch.save({**network.state_dict(), "fc.weight": torch.ones(9, 16)}, tmp_path / "colours.pth")
    return tmp_path / "colours.pth"


def test_weights_are_fitted_to_the_model_of_a_config_and_must_fill_it(colours, tmp_path, capsys):
    config, out = config_file(tmp_path), tmp_path / "a.safetensors"
    run(["convert", colours, out, "--how", "i3d", "--arch", config], capsys)
    state, given = state_dict_of(read_checkpoint(out)), torch.load(colours, weights_only=True)
    model = load_model(config)[1]
    assert set(state) == {f"backbone.{key}" for key in model.backbone.state_dict()}
    # one grey channel in place of three equal colours: the sum over colours, spread over seven slices
    assert torch.allclose(state["backbone.conv1.weight"].sum(2), given["conv1.weight"].sum(1, keepdim=True), atol=1e-6)
    deeper = config_file(tmp_path, depth=18)
    said = refused(["convert", colours, tmp_path / "b.pth", "--how", "i3d", "--arch", deeper], capsys)
    assert "colours.pth" in said and "depth" in said
    assert not (tmp_path / "b.pth").exists()


def test_an_architecture_is_named_by_its_depth():
    with torch.device("meta"):  # shapes without memory
        stems = {how: tuple(network_of("resnet3d-10", how).conv1.weight.shape) for how in CONVS}
    deep, flat = (64, 1, 7, 7, 7), (64, 1, 7, 7)
    assert stems == {"i3d": deep, "centre": deep, "acs": flat, "2.5d": (64, 1, 1, 7, 7)}
    with pytest.raises(ValueError, match="depth"):
        network_of("resnet3d-11", "i3d")


# ---- publish ----


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder of a run of two epochs with averaged weights, and its config."""
    folder = tmp_path_factory.mktemp("run")
    hooks = dict(default_hooks=dict(tiny.config(folder).default_hooks))
    hooks["default_hooks"]["checkpoint"] = dict(type="CheckpointHook", interval=1, save_best="auc")
    config = tiny.config(folder, epochs=2, ema=True, **hooks)
    config.dump(folder / "net_scratch_1xb2_tiny.py")
    tiny.train(config)
    return folder


def published(trained: Path, out: Path, *options: object, capsys) -> tuple[Path, dict, str]:
    config = trained / "net_scratch_1xb2_tiny.py"
    words = ["publish", trained / "epoch_2.pth", out, "--name", "net-tiny", "--config", config, *options]
    said = run(words, capsys)
    (file,) = out.glob("*.safetensors")
    (entry,) = yaml.safe_load(file.with_suffix(".yml").read_text())["Models"]
    return file, entry, said


def test_what_is_published_is_what_was_tested_and_says_so(trained, tmp_path, capsys):
    file, entry, said = published(trained, tmp_path, "--licence", "MIT", capsys=capsys)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert file.name == f"net-tiny-{digest[:8]}.safetensors"
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".yml"}
    # Where a run averages, its checkpoints hold the average as state_dict: that is what was validated.
    checkpoint = tiny.saved(trained / "epoch_2.pth")
    assert "ema_state_dict" in checkpoint and "(averaged)" in said
    assert tiny.differences(safetensors.torch.load_file(file), dict(checkpoint["state_dict"])) == []
    content = read_checkpoint(file)
    assert content["meta"]["dataset_meta"] == checkpoint["meta"]["dataset_meta"] == {"classes": ["dark", "bright"]}
    lines = [json.loads(line) for line in (trained / "scores.jsonl").read_text().splitlines()]
    assert entry == {
        "Name": "net-tiny",
        "Config": "net_scratch_1xb2_tiny.py",
        "Weights": None,
        "Metadata": {
            "Training Data": "tiny",
            "License": "MIT",
            "File": file.name,
            "SHA256": digest,
            "Size": file.stat().st_size,
        },
        "Results": [{"Task": "Image Classification", "Dataset": "tiny", "Metrics": {"auc": lines[1]["auc"]}}],
    }
    assert file.with_suffix(".yml").read_text() in said


def test_a_published_file_is_tested_like_the_checkpoint(trained, tmp_path, capsys):
    file, _, _ = published(trained, tmp_path / "out", capsys=capsys)
    validated = json.loads((trained / "scores.jsonl").read_text().splitlines()[1])
    scores = Runner.from_cfg(tiny.config(tmp_path / "test", load_from=str(file))).test()
    assert scores["log_loss"] == validated["log_loss"]


def test_a_backbone_is_published_alone(trained, tmp_path, capsys):
    file, entry, _ = published(trained, tmp_path, "--backbone-only", "--metric", "auc=0.5", "f1=1", capsys=capsys)
    state = tiny.saved(trained / "epoch_2.pth")["state_dict"]
    wanted = {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
    assert tiny.differences(safetensors.torch.load_file(file), wanted) == []
    assert "dataset_meta" not in read_checkpoint(file)["meta"]
    # What another program wrote under the name without a hash stays, though weights are first written there.
    words = ["publish", trained / "epoch_2.pth", tmp_path, "--name", "net-tiny", "--backbone-only", "--config"]
    words.append(trained / "net_scratch_1xb2_tiny.py")
    (tmp_path / "net-tiny.safetensors").write_text("by hand")
    assert "net-tiny.safetensors exists already" in refused([*words, "--overwrite"], capsys)
    assert (tmp_path / "net-tiny.safetensors").read_text() == "by hand"
    assert entry["Results"][0]["Metrics"] == {"auc": 0.5, "f1": 1.0}


def test_what_does_not_fit_its_config_is_not_published(trained, tmp_path, capsys):
    other = tmp_path / "other.py"
    Config.fromfile(trained / "net_scratch_1xb2_tiny.py").dump(other)
    other.write_text(other.read_text().replace("num_classes=2", "num_classes=3"))
    words = ["publish", trained / "epoch_2.pth", tmp_path / "out", "--name", "a", "--config", other]
    assert "head.fc.weight (file (2, 8), model (3, 8))" in refused(words, capsys)
    assert "letters, digits" in refused([*words[:4], "a/b", *words[5:]], capsys)
    with pytest.raises(SystemExit):
        main([str(word) for word in [*words, "--metric", "auc"]])
    assert "'auc' is not of the form dice=0.87" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_full_disk_keeps_no_half_of_what_is_published(trained, tmp_path, capsys, monkeypatch):
    words = [
        "publish",
        trained / "epoch_2.pth",
        tmp_path,
        "--name",
        "a",
        "--config",
        trained / "net_scratch_1xb2_tiny.py",
    ]
    with monkeypatch.context() as patched, full_disk(100_000):  # enough to read a config, which mmengine copies
        patched.setattr(publish, "weights_of", lambda *_: {"a": torch.zeros(100_000)})
        assert NOT_WRITTEN + repr(str(tmp_path / "a.safetensors")) in refused(words, capsys)
    assert list(tmp_path.iterdir()) == []

    def full(entry: zoo.Entry) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zoo, "described", full)  # the weights are written, their entry is not
    said = refused(words, capsys)
    assert "No space left on device; it was not written" in said and ".yml" in said
    assert list(tmp_path.iterdir()) == []


# ---- examine ----


def test_examine_shows_the_tensors_the_hash_and_the_layout(colours, tmp_path, capsys):
    said = run(["examine", colours], capsys)
    words = [line.split() for line in said.splitlines()]
    assert ["conv1.weight", "2", "x", "3", "x", "7", "x", "7", "float32"] in words
    assert ["bn1.num_batches_tracked", "one", "number", "int64"] in words
    assert f"sha256: {hashlib.sha256(colours.read_bytes()).hexdigest()}" in said
    assert "layout: ResNet with 2D kernels" in said and "3 input channels" in said
    torch.save({"state_dict": {"a.weight": torch.ones(2)}, "meta": {"epoch": 3}, "optimizer": {}}, tmp_path / "b.pth")
    said = run(["examine", tmp_path / "b.pth"], capsys)
    assert "layout: none known here; the nearest is" in said
    assert "meta.epoch: 3" in said and "beside them: optimizer" in said


def test_examine_says_what_a_config_would_take(colours, tmp_path, capsys):
    config = config_file(tmp_path)
    said = refused(["examine", colours, "--config", config], capsys)
    assert "say inflate='i3d'" in said
    config.write_text(config.read_text() + "inflate = 'i3d'\n")
    said = run(["examine", colours, "--config", config], capsys)
    assert "2D kernels filled the depth of 3D ones (i3d)" in said and "1 left over in the file: fc.weight" in said
    assert "2 missing in the file: head.fc.weight, head.fc.bias" in said
