"""Networks as ONNX and torch.export: they agree with PyTorch, predict label for label, and nothing half is kept."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

import medseg.datasets
import medseg.models  # noqa: F401
import vdt3d.inference
import vdt3d.transforms  # noqa: F401
from vdt3d.apis import export as exports
from vdt3d.apis.explanations import Explainer
from vdt3d.apis.predictor import Predictor
from vdt3d.cli import main, parser_of
from vdt3d.engine.ensemble import loaded
from vdt3d.engine.onnx_network import META, OnnxNetwork, described
from vdt3d.io import read_label_map, write_nifti
from vdt3d.models.weights.files import CheckpointError, read_checkpoint, write_checkpoint
from vdt3d.registry import MODELS as KNOWN
from vdt3d.structures import Volume, affine_from_spacing

CPU = torch.device("cpu")
NORM = dict(type="IN", affine=True)
RESNET = dict(type="ResNet3D", depth=10, base_channels=4, num_stages=2, depth_stride=True)
MODELS = {
    "segmentor": dict(
        type="VolumeSegmentor",
        backbone=dict(RESNET, stem_stride=False, stem_pool=True, unet_features=True, out_indices=(0, 1)),
        neck=dict(type="UNetNeck", num_convs=1, norm_cfg=NORM),
        decode_head=dict(type="FCNHead3D", num_classes=3, num_convs=0, dropout_ratio=0.1),
        test_cfg=dict(inferer=dict(type="SlidingWindow", window=(8, 16, 16), batch=2)),
    ),
    "classifier": dict(
        type="VolumeClassifier",
        backbone=dict(RESNET, out_indices=(1,)),
        neck=dict(type="GlobalAveragePooling", dim=3),
        head=dict(type="LinearClsHead", num_classes=3),
    ),
    "slices": dict(
        type="SliceWindowSegmentor",
        backbone=dict(
            type="UNet",
            **dict(base_channels=4, num_stages=2, strides=(1, 1), downsamples=(True,), norm_cfg=dict(type="BN")),
            **dict(enc_num_convs=(1, 1), dec_num_convs=(1,), enc_dilations=(1, 1), dec_dilations=(1,)),
        ),
        decode_head=dict(type="FCNHead", in_index=-1, channels=4, num_convs=1, norm_cfg=dict(type="BN")),
        num_classes=3,
        window=dict(slices=3),
        test_cfg=dict(inferer=dict(type="SliceWindowInferer", divisor=2)),
    ),
}
SHAPES = {"segmentor": (1, 8, 16, 16), "classifier": (1, 16, 16, 16), "slices": (1, 3, 16, 16)}


def case(kind: str) -> Config:
    pack = "PackVolume" if kind == "classifier" else "PackSegmentation"
    pipeline = [dict(type="Normalize3D", mean=0.0, std=10.0), dict(type=pack)]
    dataset = dict(type="VolumeSegmentation", pipeline=pipeline)
    return Config(dict(model=MODELS[kind], test_dataloader=dict(dataset=dataset)))


def random_weights(config: Config, path: Path) -> str:
    """A checkpoint that tells cases apart, and whose norms have seen something."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("vdt3d"):
        model = KNOWN.build(config.model)
    model.init_weights()
    state = model.state_dict()
    state |= {key: torch.rand_like(value) + 0.5 for key, value in state.items() if key.endswith("running_var")}
    state |= {key: 100 * value for key, value in state.items() if key.endswith("fc.weight")}  # it begins with 0.01
    meta = {"dataset_meta": {"classes": ["air", "liver", "spleen"], "modality": ["CT"]}}
    write_checkpoint({"state_dict": state, "meta": meta}, path)
    return str(path)


def scan() -> Volume:
    """A bright box in noise, of sides that no window or stride divides."""
    array = np.random.default_rng(0).normal(0, 5, (1, 11, 22, 19)).astype(np.float32)
    array[0, 3:8, 5:15, 4:16] += 20
    return Volume(array, affine_from_spacing((2.0, 1.0, 1.0)))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, tuple[str, exports.Exported]]:
    """Of each model a checkpoint and what was exported of it."""
    folder, written = tmp_path_factory.mktemp("exported"), {}
    for kind, shape in SHAPES.items():
        weights = random_weights(case(kind), folder / f"{kind}.pth")
        written[kind] = weights, exports.export(case(kind), weights, folder / f"{kind}.onnx", shape=shape)
    return written


# ---- agreement -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODELS)
def test_scores_agree_at_sizes_it_was_not_exported_with(kind, files):
    weights, written = files[kind]
    network, model = OnnxNetwork(written.path), loaded(case(kind), weights, CPU)
    shape = (3, 1, 3, 20, 26) if kind == "slices" else (3, 1, 11, 20, 26)
    batch = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        scores = model(batch)
    assert scores.std() > 0.01 and network(batch).shape == scores.shape
    assert (network(batch) - scores).abs().max() <= 1e-4 * scores.abs().max()
    assert written.random.share <= 1e-4 and written.scan is None


def test_what_is_free_is_told(files):
    for kind, (_, written) in files.items():
        batch, channels, depth, *plane = written.sizes
        assert batch == (1, None) and channels == (1, 1)
        assert depth == (3, 3) if kind == "slices" else depth[0] <= 11 <= (depth[1] or 11)
        assert all(high is None and low <= 16 for low, high in plane)
        inside = onnx.load(written.path)
        names = [axis.dim_param or axis.dim_value for axis in inside.graph.input[0].type.tensor_type.shape.dim]
        assert names == ["batch", 1, 3 if kind == "slices" else "depth", "height", "width"]
        meta = json.loads({entry.key: entry.value for entry in inside.metadata_props}[META])
        assert meta["dataset_meta"]["classes"] == ["air", "liver", "spleen"] and meta["shape"] == list(SHAPES[kind])
        assert MODELS[kind]["type"] == meta["model"] and meta["model"] in meta["config"]
    said = described([(1, None), (1, 1), (9, 16), (4, 4), (17, None)])
    assert said == "batch from 1, channels 1, depth 9 to 16, height 4, width from 17"


@pytest.mark.parametrize("kind", ["segmentor", "slices"])
def test_a_predictor_labels_alike(kind, files):
    weights, written = files[kind]
    config = case(kind)
    config.model.test_cfg.inferer.flips = "W"
    ours, theirs = (Predictor(config, path, device="cpu") for path in (weights, written.path))
    labels = theirs(scan())
    assert len(np.unique(labels.array)) > 1
    assert np.array_equal(labels.array, ours(scan()).array)
    assert theirs.classes == ("air", "liver", "spleen")


def test_a_predictor_classifies_alike(files):
    weights, written = files["classifier"]
    said = [Predictor(case("classifier"), path, device="cpu")(scan()) for path in (weights, written.path)]
    np.testing.assert_allclose(*(answer.probabilities for answer in said), atol=1e-4)
    assert said[1].classes == ("air", "liver", "spleen") and np.ptp(said[0].probabilities) > 0.01


def test_it_answers_in_an_ensemble_and_for_its_uncertainty(files, tmp_path):
    weights, written = files["segmentor"]
    other = random_weights(case("segmentor"), tmp_path / "other.pth")
    state = torch.load(other, weights_only=True)
    state["state_dict"] = {key: 1.3 * value + 0.1 for key, value in state["state_dict"].items()}
    write_checkpoint(state, tmp_path / "other.pth")
    ours, theirs, swapped = (
        Predictor(case("segmentor"), paths, device="cpu", uncertainty=True).assess(scan())
        for paths in ([weights, other], [written.path, other], [other, written.path])
    )
    assert ours.disagreement.array.max() > 0.01
    for told in (theirs, swapped):
        assert np.array_equal(told.labels.array, ours.labels.array)
        np.testing.assert_allclose(told.uncertainty.array, ours.uncertainty.array, atol=1e-4)
        np.testing.assert_allclose(told.disagreement.array, ours.disagreement.array, atol=1e-4)


def test_the_command_writes_torch_export_and_compares_on_a_scan(files, tmp_path, capsys):
    weights, _ = files["segmentor"]
    write_nifti(scan(), tmp_path / "scan.nii.gz")
    case("segmentor").dump(tmp_path / "config.py")
    words = ["--shape", "1", "8", "16", "16", "--scan", str(tmp_path / "scan.nii.gz")]
    main(["export", str(tmp_path / "config.py"), weights, "-o", str(tmp_path / "new/net.pt2"), *words])
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"{tmp_path / 'new/net.pt2'} (") and "takes batch from 1, channels 1, depth " in said[0]
    assert [line.partition(":")[0] for line in said[1:]] == ["random patches", str(tmp_path / "scan.nii.gz")]
    extra = {f"{META}.json": ""}
    program = torch.export.load(tmp_path / "new/net.pt2", extra_files=extra)
    assert json.loads(extra[f"{META}.json"])["model"] == "VolumeSegmentor"
    batch = torch.randn(1, 1, 8, 20, 26, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        scores = loaded(case("segmentor"), weights, CPU)(batch)
        assert (program.module()(batch) - scores).abs().max() <= 1e-4 * scores.abs().max()


def test_an_encoder_is_followed_in_evaluation_mode():
    model = KNOWN.build(
        dict(
            type="VolumeClassifier",
            backbone=dict(type="Convert2d", model="timm.test_efficientnet", how="2.5d", out_indices=(1,)),
            neck=dict(type="GlobalAveragePooling", dim=3),
            head=dict(type="LinearClsHead", in_channels=24, num_classes=2),
        )
    )
    batch = torch.randn(2, 1, 4, 32, 32)
    with torch.no_grad():
        model.train()(batch)
        program, _ = exports.follow(model.eval(), batch.shape[1:])
        found, expected = program.module()(batch), model(batch)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_the_guide_runs_as_printed(files, tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[1] / "docs/export.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for folder in ("configs/debug", "scans"):
        Path(folder).mkdir(parents=True)
    case("segmentor").dump("configs/debug/segment.py")
    write_nifti(scan(), Path("scans/case0.nii.gz"))
    shutil.copy(files["segmentor"][1].path, "segment.onnx")
    (export,), (predict,) = (block.splitlines() for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL))
    parser_of("export").parse_args(shlex.split(export)[2:])
    main(shlex.split(predict)[1:])
    assert Path("answers/case0.nii.gz").is_file()
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
    assert np.array_equal(names["labels"].array, read_label_map("answers/case0.nii.gz").array)
    assert "['air', 'liver', 'spleen'] [[1, None], [1, 1], " in capsys.readouterr().out


# ---- the comparison --------------------------------------------------------------------------------------------------


class Constant(torch.nn.Module):
    """Two scores, 1 and ``value``, whatever it sees; it takes sides that are multiples."""

    def __init__(self, value: float, multiple: int = 1):
        super().__init__()
        self.value, self.multiple, self.seen = value, multiple, []

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(batch.shape))
        assert all(side % self.multiple == 0 for side in batch.shape[2:])
        return torch.tensor([1.0, self.value]).expand(len(batch), 2)


def test_patches_of_one_and_two_and_of_a_free_size_are_compared():
    network, sizes = Constant(-4), [(1, None), (1, 1), (9, 16), (17, None), (48, 48)]
    found = exports.on_random_patches(network, Constant(-4.0001), (1, 14, 20, 48), sizes)
    # 5 more voxels where there is room: 14 + 5 is beyond 16; 20 + 5; 48 is all there is.
    probe = other = (1, 1, 16, 25, 48)
    assert network.seen == [probe, (1, 1, 14, 20, 48), (2, 1, 14, 20, 48), other]
    assert found.largest == pytest.approx(1e-4, rel=0.01) and found.share == pytest.approx(1e-4 / 4, rel=0.01)
    # A batch of one alone; and a network of multiples of 4: not 12 + 5 and 20 + 5, but 12 + 16 and 20 + 16.
    even = Constant(-4, multiple=4)
    exports.on_random_patches(even, network, (1, 12, 20, 48), [(1, 1), (1, 1), (9, None), (17, None), (48, 48)])
    assert even.seen == [(1, 1, 17, 25, 48), (1, 1, 28, 36, 48), (1, 1, 12, 20, 48), (1, 1, 28, 36, 48)]


@pytest.mark.parametrize(("theirs", "said"), [(-3.5, r"0\.5 from PyTorch's, 1\.2e-01 of"), (float("nan"), "nan")])
def test_what_does_not_agree_is_not_kept(theirs, said, tmp_path, monkeypatch):
    def write(program, path, meta):
        path.write_text("new")
        return Constant(theirs)

    write_checkpoint({"state_dict": {}}, tmp_path / "a.pth")
    monkeypatch.setattr(exports, "loaded", lambda *_: Constant(-4))
    monkeypatch.setattr(exports, "follow", lambda *_: (None, [(1, 1)] * 5))
    monkeypatch.setitem(exports._WRITERS, ".onnx", write)
    (tmp_path / "net.onnx").write_text("before")
    with pytest.raises(ValueError, match=said):  # 0.5 of 4 is an eighth
        exports.export(case("classifier"), str(tmp_path / "a.pth"), tmp_path / "net.onnx", shape=(1, 1, 1, 1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pth", "net.onnx"]
    assert (tmp_path / "net.onnx").read_text() == "before"


# ---- refusals --------------------------------------------------------------------------------------------------------


def relu(path: Path, meta: str | None) -> None:
    """Write a network of one ReLU for patches (1, 1, 2, 2, 2)."""
    scores, inputs = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 1, 2, 2, 2])
        for name in ("scores", "inputs")
    )
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["inputs"], ["scores"])], "net", [inputs], [scores])
    inside = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    if meta is not None:
        onnx.helper.set_model_props(inside, {META: meta})
    onnx.save(inside, path)


def test_what_takes_one_patch_is_fed_one_after_another(tmp_path):
    relu(tmp_path / "one.onnx", json.dumps({"sizes": [[1, 1], [1, 1], [2, 2], [2, 2], [2, 2]]}))
    batch = torch.arange(-12.0, 12).view(3, 1, 2, 2, 2)
    assert torch.equal(OnnxNetwork(tmp_path / "one.onnx")(batch), batch.relu())


def test_broken_foreign_and_other_files_are_refused_by_name(files, tmp_path):
    whole = files["segmentor"][1].path
    broken, foreign, edited = (tmp_path / f"{name}.onnx" for name in ("broken", "foreign", "edited"))
    broken.write_bytes(whole.read_bytes()[:-3000])
    relu(foreign, None)
    relu(edited, "{")
    for path, said in (
        (broken, "broken.onnx: not a whole ONNX file"),
        (foreign, "foreign.onnx: does not tell what it wants to be fed"),
        (edited, "edited.onnx: does not tell what it wants to be fed"),
    ):
        with pytest.raises(CheckpointError, match=said):
            Predictor(case("segmentor"), path, device="cpu")
    with pytest.raises(FileNotFoundError, match=r"none\.onnx: there is no such"):
        OnnxNetwork(tmp_path / "none.onnx")
    with pytest.raises(CheckpointError, match=r"segmentor\.onnx: .* another VolumeSegmentor than the VolumeC"):
        loaded(case("classifier"), str(whole), CPU)


def test_what_it_was_not_exported_for_is_refused(files):
    network = OnnxNetwork(files["slices"][1].path)
    with pytest.raises(ValueError, match=r"slices\.onnx: .* for batch from 1, .*depth 3, .*\(1, 1, 4, 16, 16\)"):
        network(torch.zeros(1, 1, 4, 16, 16))
    with pytest.raises(ValueError, match="is fed"):
        network(torch.zeros(1, 1, 3, 16))
    with pytest.raises(ValueError, match=r"cannot compute a batch \(1, 1, 3, 17, 16\)"):  # 8 slices, twice: not 17
        network(torch.zeros(1, 1, 3, 17, 16))
    with pytest.raises(ValueError, match="does not compute on mps: choose the device cpu"):
        OnnxNetwork(files["slices"][1].path, "mps")


def test_no_dropout_no_training_no_second_export(files, tmp_path):
    weights, written = files["segmentor"]
    with pytest.raises(ValueError, match="an exported network has no dropout"):
        Predictor(case("segmentor"), [weights, written.path], device="cpu", mc_dropout=3)
    with pytest.raises(ValueError, match="is exported already"):
        exports.export(case("segmentor"), str(written.path), tmp_path / "again.onnx", shape=(1, 8, 16, 16))
    with pytest.raises(CheckpointError, match=r"segmentor\.onnx: is an exported network, which answers `vdt3d pred"):
        read_checkpoint(written.path)
    with pytest.raises(ValueError, match=r"segmentor\.onnx: is an exported network, without layers"):
        Explainer(case("segmentor"), written.path)


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("net.pth", (1, 8, 16, 16), "ends neither in .onnx nor in .pt2"),
        ("net.onnx", (8, 16, 16), "wanted is that of a patch"),
        ("net.onnx", (2, 8, 16, 16), "VolumeClassifier cannot be exported: .*2 channels"),
    ],
)
def test_what_cannot_be_exported_is_said_in_a_line(name, shape, said, files, tmp_path):
    with pytest.raises(ValueError, match=said) as told:
        exports.export(case("classifier"), files["classifier"][0], tmp_path / name, shape=shape)
    assert "\n" not in str(told.value) and list(tmp_path.iterdir()) == []


def test_a_detector_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["export", "configs/debug/detect.py", "none.pth", "-o", str(tmp_path / "net.onnx")])
    assert "error: a detector cannot be exported" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(files, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for act in (
        lambda: OnnxNetwork(files["slices"][1].path),
        lambda: exports.export(case("slices"), files["slices"][0], tmp_path / "a.onnx", shape=(1, 3, 16, 16)),
    ):
        with pytest.raises(ValueError, match=r"onnxruntime is not installed.*: pip install vdt3d\[export\]"):
            act()
