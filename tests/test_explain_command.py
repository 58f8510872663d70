"""``vdt3d explain``: maps of classifiers, models of voxels and detectors lie on the scan, where the evidence is."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.model import BaseModel, BaseModule
from test_detect_command import CENTRE, GRIDS, RADIUS, ball
from torch import Tensor, nn

import medseg.models  # noqa: F401
import vdt3d.datasets
import vdt3d.transforms  # noqa: F401
from medseg.models.targets import LabelScheme
from vdt3d.apis.explanations import METHODS, Explainer
from vdt3d.cli import main
from vdt3d.engine.config import read_config
from vdt3d.io import read_volume, write_nifti
from vdt3d.models import FeatureInfo
from vdt3d.models.weights.files import write_checkpoint
from vdt3d.registry import MODELS, TASK_UTILS
from vdt3d.structures import Volume

ROOT = Path(__file__).resolve().parents[1]


@MODELS.register_module()
class BrightParts(BaseModule):
    """What is brighter than a quarter, and what is darker, at half the size."""

    feature_info = (FeatureInfo("parts", 2, (2, 2, 2)),)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 2, 2, stride=2)
        with torch.no_grad():
            self.conv.weight[:] = torch.tensor([1 / 8, -1 / 8]).view(2, 1, 1, 1, 1)
            self.conv.bias[:] = torch.tensor([-0.25, 0.25])

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.conv(x).relu(),)


@MODELS.register_module()
class BrightVoxels(BaseModel):
    """Label 1 is what is brighter than one half."""

    def __init__(self, inferer: dict, regions: dict | None = None, data_preprocessor: dict | None = None):
        super().__init__(MODELS.build(dict(type="VolumeDataPreprocessor")))
        self.backbone = nn.Sequential(nn.Conv3d(1, 1, 1))
        nn.init.ones_(self.backbone[0].weight)
        nn.init.constant_(self.backbone[0].bias, -0.5)
        self.labels = LabelScheme(2, regions=regions)
        self.inferer = TASK_UTILS.build(inferer)

    def forward(self, inputs, data_samples=None, mode="tensor"):
        if mode == "tensor":
            odds = 10 * self.backbone(inputs)
            if "slices" in repr(getattr(self.inferer, "window", "")):
                odds = odds.mean(2, keepdim=True)
            return odds if self.labels.regions else torch.cat([-odds, odds], dim=1)
        decide = self.labels.decision()
        for image, sample in zip(inputs, data_samples, strict=True):
            sample.pred_labels = self.inferer.segment(self, image, sample, decide)
        return data_samples


def written(folder: Path, model: str, pipeline: str, dataset: str = "VolumeSegmentation") -> tuple[str, str]:
    """A config and a checkpoint."""
    config = folder / "config.py"
    config.write_text(f"model = {model}\ntest_dataloader = dict(dataset=dict(type='{dataset}', pipeline={pipeline}))\n")
    network = MODELS.build(eval(model))
    if model.startswith("dict(type='VolumeClassifier'"):
        with torch.no_grad():  # what is bright is of class 1, what is dark of none
            network.head.fc.weight[:] = torch.tensor([[0.0, 0.0], [1000.0, 0.0]])
            network.head.fc.bias.zero_()
    write_checkpoint({"state_dict": network.state_dict(), "meta": {}}, folder / "w.pth")
    return str(config), str(folder / "w.pth")


CLASSIFIER = (
    "dict(type='VolumeClassifier', backbone=dict(type='BrightParts'), neck=dict(type='GlobalAveragePooling', dim=3), "
    "head=dict(type='LinearClsHead', num_classes=2))"
)
TURNED = "dict(type='Reorient3D'), dict(type='Normalize3D', mean=0.0, std=100.0)"
SLIDING = "dict(type='BrightVoxels', inferer=dict(type='SlidingWindow', window=(12, 12, 12)))"


def place(volume: Volume, voxel: np.ndarray) -> np.ndarray:
    """In millimetres, (x, y, z)."""
    return volume.affine[:3, :3] @ voxel + volume.affine[:3, 3]


@pytest.mark.parametrize("name", GRIDS)
def test_the_evidence_for_a_bright_ball_is_the_ball_on_the_grid_of_any_scan(name, tmp_path):
    volume = ball(*GRIDS[name])
    crop = f"dict(type='CenterCrop3D', size={tuple(side - 4 for side in volume.shape)})"
    pipeline = f"[{crop}, {TURNED}, dict(type='PackVolume')]"
    explainer = Explainer(*written(tmp_path, CLASSIFIER, pipeline, "VolumeClassification"), device="cpu")
    for method in [method for method in METHODS if method != "attention"]:
        found = explainer.explain(volume, method, target=1)
        assert found.heat.shape == volume.shape and np.array_equal(found.heat.affine, volume.affine)
        hottest = np.unravel_index(found.heat.array[0].argmax(), volume.shape)
        # A cell of Grad-CAM and occlusion is 2 to 4 voxels long.
        slack = 4 * max(volume.spacing) if method in ("gradcam", "occlusion") else max(volume.spacing)
        assert np.linalg.norm(place(volume, np.array(hottest)) - CENTRE) <= RADIUS + slack, method
        assert np.isfinite(found.heat.array).all() and found.question.target == 1
    # Without being asked, of the class that is answered; of the other the same speaks against.
    assert explainer.explain(volume, method).question.target == 1
    other = explainer.explain(volume, method, target=0)
    assert other.score == -found.score and np.allclose(other.heat.array, -found.heat.array)
    # Where the crop ends, so does what the network looked at.
    assert all((found.heat.array.take(range(2), axis) == 0).all() for axis in (1, 2, 3))


def test_a_label_is_asked_about_in_its_part_and_seen_through_one_window(tmp_path):
    volume = ball(*GRIDS["up"])
    array = volume.array.copy()
    array[0, 1, 2, 3] = 100  # a part of one voxel, far from the ball
    volume = volume.replace(array=array)
    explainer = Explainer(*written(tmp_path, SLIDING, f"[{TURNED}, dict(type='PackSegmentation')]"), device="cpu")
    found = explainer.explain(volume, "saliency")
    inside = volume.array[0] > 50
    inside[1, 2, 3] = False
    # Nothing but the region's own voxels counts, and all of them alike: log odds 20 x - 10, over their number.
    assert found.question.about == "label 1" and found.score == pytest.approx(10)
    assert np.array_equal(found.heat.array[0] > 0, inside)
    assert found.heat.array.max() == pytest.approx(20 / inside.sum())
    found = explainer.explain(volume, "occlusion", target=1, region=(1, 2, 3), window=(1, 1, 1))
    assert np.argwhere(found.heat.array[0]).tolist() == [[1, 2, 3]] and found.heat.array.max() == pytest.approx(20)
    found = explainer.explain(volume, "saliency", target=0, region=(1, 2, 3, 2, 4, 4))
    assert np.argwhere(found.heat.array[0]).tolist() == [[1, 2, 3], [1, 3, 3]]
    assert found.score == pytest.approx(0)  # one voxel of each kind


def test_a_small_scan_and_regions_that_overlap(tmp_path):
    model = SLIDING.replace("12)))", "12)), regions=dict(bright=(1,)))")
    explainer = Explainer(*written(tmp_path, model, f"[{TURNED}, dict(type='PackSegmentation')]"), device="cpu")
    array = np.zeros((1, 5, 30, 6), np.float32)
    array[0, 2, 14:17, 3] = 100
    volume = Volume(array)
    found = explainer.explain(volume, "saliency")
    assert found.question.about == "label 1, bright" and found.score == pytest.approx(5)
    assert np.array_equal(found.heat.array[0] > 0, array[0] > 0)
    with pytest.raises(ValueError, match="target 0 is unknown: there are 1 to 1"):
        explainer.explain(volume, target=0)


def test_slices_of_a_window_are_those_about_the_slice_with_most_of_the_region(tmp_path):
    model = "dict(type='BrightVoxels', inferer=dict(type='SliceWindowInferer', window=dict(slices=3)))"
    explainer = Explainer(*written(tmp_path, model, "[dict(type='PackSegmentation')]"), device="cpu")
    array = np.zeros((1, 8, 6, 6), np.float32)
    # Labelled is what is above 0.5 in the mean of three slices: two rows in slices 3 to 5 and, in slice 4, two more.
    array[0, 3:6, 2:4, 2], array[0, 3:6, 2:4, 3], array[0, 4, 2:4, 3] = 1.2, 0.2, 1.2
    found = explainer.explain(Volume(array), "saliency")
    assert sorted(set(np.argwhere(found.heat.array[0])[:, 0].tolist())) == [3, 4, 5]
    assert set(map(tuple, np.argwhere(found.heat.array[0, 4]).tolist())) == {(2, 2), (3, 2), (2, 3), (3, 3)}


def test_a_finding_is_asked_about_in_the_window_of_its_best_slice(tmp_path):
    config = tmp_path / "config.py"
    config.write_text("""
model = dict(type="BrightSpots", window=dict(slices=3, spacing=2.5), data_preprocessor=dict(pad_to=32))
test_dataloader = dict(batch_size=4, dataset=dict(type="LesionScans", pipeline=[
    dict(type="Normalize3D", mean=0.0, std=100.0), dict(type="PackDetection")]))
""")
    network = MODELS.build(dict(type="BrightSpots", window=dict(slices=3, spacing=2.5)))
    write_checkpoint({"state_dict": network.state_dict(), "meta": {}}, tmp_path / "w.pth")
    explainer = Explainer(str(config), tmp_path / "w.pth", device="cpu")
    volume = ball(*GRIDS["flipped"])
    found = explainer.explain(volume, "occlusion", window=(1, 8, 8), stride=(1, 2, 2))
    assert found.question.about == "finding 1" and found.score == pytest.approx(0.75)  # and lies on itself
    hot = np.argwhere(found.heat.array[0] > 0)
    assert len(hot) and len(set(hot[:, 0].tolist())) == 1  # the key slice alone is boxed
    distance = np.linalg.norm((volume.affine[:3, :3] @ hot.T).T + volume.affine[:3, 3] - CENTRE, axis=1)
    assert distance.max() <= RADIUS + np.hypot(8, 0.8 * 8)  # windows that reach over an edge of the box
    with pytest.raises(ValueError, match="has 1 findings; there is no number 2"):
        explainer.explain(volume, target=2)
    with pytest.raises(ValueError, match="leave it out"):
        explainer.explain(volume, region=(1, 1, 1))


def test_a_real_detector_has_gradients(tmp_path):
    config = Path(ROOT / "configs/debug/detect.py")
    settings = read_config(config)
    torch.manual_seed(0)
    network = MODELS.build(settings.model)
    write_checkpoint({"state_dict": network.state_dict(), "meta": {}}, tmp_path / "w.pth")
    explainer = Explainer(settings, tmp_path / "w.pth", device="cpu")
    volume = Volume(np.random.default_rng(0).normal(40, 40, (1, 4, 48, 64)).astype(np.float32))
    for method in ("saliency", "gradcam"):
        found = explainer.explain(volume, method)
        assert found.heat.shape == volume.shape and np.abs(found.heat.array).max() > 0 and found.score > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(method="lime"), "method 'lime' is unknown"),
        (dict(method="saliency", layer="backbone.0"), "saliency looks at the input"),
        (dict(layer="backbone.9"), "no layer 'backbone.9'; it has backbone.0"),
        (dict(method="attention"), "choose another method"),
        (dict(region=(1, 2)), "a region is a voxel"),
        (dict(region=(1, 2, 36)), "does not lie in the scan's voxels"),
        (dict(target=2), "there are 0 to 1"),
    ],
)
def test_what_cannot_be_explained_is_said(options, message, tmp_path):
    explainer = Explainer(*written(tmp_path, SLIDING, f"[{TURNED}, dict(type='PackSegmentation')]"), device="cpu")
    with pytest.raises(ValueError, match=message):
        explainer.explain(ball(*GRIDS["up"]), **options)
    with pytest.raises(ValueError, match="nothing is labelled 1"):
        explainer.explain(Volume(np.zeros((1, 16, 16, 16), np.float32)))


def test_the_commands_of_the_guide_run(tmp_path, monkeypatch, capsys):
    """With the shown config, smaller and untrained."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    own = re.search(r"```python\n(.*?)```", (ROOT / "docs/own_data.md").read_text(encoding="utf-8"), re.DOTALL).group(1)
    small = own.replace("size=(48, 96, 96)", "size=(16, 24, 24)").replace(
        "depth_stride", "base_channels=4, depth_stride"
    )
    (tmp_path / "my_config.py").write_text(small)
    settings = read_config(Path("my_config.py"))
    torch.manual_seed(0)
    (tmp_path / "work_dirs/mine").mkdir(parents=True)
    state = MODELS.build(settings.model).state_dict()
    meta = {"dataset_meta": {"classes": ["benign", "malignant"]}}
    write_checkpoint({"state_dict": state, "meta": meta}, tmp_path / "work_dirs/mine/best_auc.pth")
    rng, affine = np.random.default_rng(0), GRIDS["flipped"][0]
    for folder, count in {"scans": 2, "concepts/spiculated": 5, "concepts/random": 12}.items():
        for number in range(count):
            volume = Volume(rng.normal(0, 200, (1, 9, 20, 22)).astype(np.float32), affine)
            write_nifti(volume, tmp_path / folder / f"{number}.nii.gz")
    page = (ROOT / "docs/explain.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL) for line in block.splitlines() if line]
    assert len(lines) >= 4
    for line in lines:
        words = shlex.split(line)
        assert words[:2] == ["python", "tools/analysis/explain.py"]
        main(["explain", *words[2:]])
    out = tmp_path / "explanations"
    scan, heat = read_volume("scans/0.nii.gz"), read_volume(out / "0.gradcam.nii.gz")
    assert heat.same_grid(scan) and (out / "0.gradcam.png").stat().st_size > 1000
    report = json.loads((out / "0.gradcam.json").read_text())
    assert report["about"] == "class 1, malignant" and report["layer"].startswith("backbone.")
    assert "not a medical device" in report["note"] and "gradient of the log odds" in report["measure"]
    checks = json.loads((out / "1.occlusion.json").read_text())["checks"]
    assert set(checks) == {
        *("deletion", "insertion", "deletion_elsewhere", "insertion_elsewhere", "likeness_random"),
    }
    concept = json.loads((out / "tcav.json").read_text())["concepts"]["spiculated"]
    assert concept["examples"] == 5 and 0 <= concept["p"] <= 1 and 0 <= concept["score"] <= 1
    assert "TCAV score" in capsys.readouterr().out
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(block, "docs/explain.md", "exec"), {})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "tcav"], "tcav wants concepts"),
        (["--method", "tcav", "--concept", "=x", "--random", "r"], "tcav wants concepts"),
        (["--concept", "a=b"], "are for --method tcav"),
        (["--window", "1", "1", "1"], "are for --method occlusion"),
    ],
)
def test_a_mistake_is_said_before_anything_is_loaded(words, message, capsys):
    with pytest.raises(SystemExit) as left:
        main(["explain", "missing.py", "missing.pth", "scan.nii.gz", *words])
    assert left.value.code == 2 and message in capsys.readouterr().err


def test_one_bad_scan_does_not_stop_the_rest(tmp_path, capsys):
    words = written(tmp_path, SLIDING, f"[{TURNED}, dict(type='PackSegmentation')]")
    write_nifti(ball(*GRIDS["up"]), tmp_path / "in/good.nii.gz")
    write_nifti(Volume(np.zeros((1, 16, 16, 16), np.float32)), tmp_path / "in/empty.nii.gz")
    with pytest.raises(SystemExit) as left:
        main(["explain", *words, str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--method", "saliency"])
    said = capsys.readouterr()
    assert left.value.code == 1 and "case 'empty': nothing is labelled 1" in said.err and "good: label 1" in said.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("good.saliency.json", "good.saliency.nii.gz", "good.saliency.png"),
    ]

    # An earlier map stays, unless it is to be replaced; so do the scans and files of other origin, come what may.
    command = ["explain", *words, str(tmp_path / "in/good.nii.gz"), "-o", str(tmp_path / "out"), "--method", "saliency"]
    picture = tmp_path / "out/good.saliency.png"
    picture.write_bytes(b"")
    with pytest.raises(SystemExit) as left:
        main(command)
    assert left.value.code == 2 and "good.saliency.nii.gz" in capsys.readouterr().err and not picture.read_bytes()
    main([*command, "--overwrite"])
    assert picture.read_bytes()
    (tmp_path / "out/good.saliency.json").unlink()
    before = picture.read_bytes()
    for folder, file in (("out", picture.with_name("good.saliency.nii.gz")), ("in", tmp_path / "in")):
        given = tmp_path / "in" if folder == "in" else tmp_path / "in/good.nii.gz"
        with pytest.raises(SystemExit) as left:
            main(["explain", *words, str(given), "-o", str(tmp_path / folder), *command[-2:], "--overwrite"])
        assert left.value.code == 2 and str(file) in capsys.readouterr().err
    assert picture.read_bytes() == before and len(list((tmp_path / "in").iterdir())) == 2
