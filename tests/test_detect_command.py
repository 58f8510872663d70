"""``vdt3d predict`` with a detector: a bright ball is found where it is, in whatever grid, file and order."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from test_io_dicom import write_slice
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from vdt3d.apis.predictor import Predictor
from vdt3d.cli import main
from vdt3d.inference import join_slices, sweep
from vdt3d.io import write_nifti
from vdt3d.models import FeatureInfo, WindowBackbone, WindowDetector
from vdt3d.models.weights.files import write_checkpoint
from vdt3d.registry import MODELS
from vdt3d.structures import Boxes, Sample, SpacedWindow, Volume
from vdt3d.transforms import PackDetection

CENTRE, RADIUS = np.array([4.0, -6.0, 11.0]), 6.0  # mm to the right, forward, up


@MODELS.register_module()
class HalfAndQuarter(WindowBackbone):
    """Two maps of the slices' mean."""

    feature_info = (FeatureInfo("half", 1, (1, 2, 2)), FeatureInfo("quarter", 1, (1, 4, 4)))

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.scale * x.mean(2)
        return nn.functional.avg_pool2d(maps, 2), nn.functional.avg_pool2d(maps, 4)


@MODELS.register_module()
class BrightSpots(WindowDetector):
    """Boxes what of the key slice is brighter than one half. ``batches`` remembers what came at once."""

    def __init__(self, **kwargs):
        super().__init__(dict(type="HalfAndQuarter"), fpn_channels=2, **kwargs)
        self.batches: list[torch.Size] = []

    def detections(self, images: ImageList, maps: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        self.batches.append(images.tensors.shape)
        found = []
        for window, (height, width) in zip(images.tensors, images.image_sizes, strict=True):
            bright = window[0, self.window.place, :height, :width] > 0.5
            rows, columns = (bright.any(axis).nonzero().flatten() for axis in (1, 0))
            boxes = [[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]] if len(rows) else []
            boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
            scores, labels = torch.full((len(boxes),), 0.75), torch.zeros(len(boxes), dtype=torch.int64)
            found.append({"boxes": boxes, "scores": scores, "labels": labels})
        return found


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.py"
    path.write_text("""
model = dict(type="BrightSpots", window=dict(slices=3, spacing=2.5), data_preprocessor=dict(pad_to=32))
test_dataloader = dict(batch_size=4, dataset=dict(type="LesionScans", pipeline=[
    dict(type="Normalize3D", mean=0.0, std=100.0), dict(type="PackDetection")]))
""")
    return str(path)


@pytest.fixture
def checkpoint(tmp_path: Path, config) -> str:
    model = MODELS.build(dict(type="BrightSpots", window=dict(slices=3, spacing=2.5)))
    path = tmp_path / "spots.pth"
    write_checkpoint({"state_dict": model.state_dict(), "meta": {"dataset_meta": {"classes": ["lesion"]}}}, path)
    return str(path)


def grid(spacing: tuple[float, float, float], order: str = "zyx", mirrored: str = "") -> np.ndarray:
    """The affine of a grid whose axes run along ``order``, some mirrored, and whose middle lies at 0 mm."""
    affine = np.zeros((4, 4))
    for axis, letter in enumerate(order):
        affine["xyz".index(letter), axis] = spacing[axis] * (-1 if letter in mirrored else 1)
    affine[3, 3] = 1
    return affine


def ball(affine: np.ndarray, shape: tuple[int, int, int]) -> Volume:
    """100 within the ball, 0 about it."""
    affine = affine.copy()
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    index = np.moveaxis(np.indices(shape), 0, -1)
    distance = np.linalg.norm(index @ affine[:3, :3].T + affine[:3, 3] - CENTRE, axis=-1)
    return Volume(100 * (distance <= RADIUS).astype(np.float32)[None], affine)


GRIDS = {
    "up": (grid((2.5, 1, 1)), (20, 40, 36)),
    "thick": (grid((5, 0.8, 1)), (12, 50, 36)),
    "thin": (grid((1, 1, 1)), (40, 40, 36)),
    "flipped": (grid((2.5, 1, 0.8), mirrored="xyz"), (20, 40, 44)),
    "sagittal": (grid((1, 0.8, 2.5), order="xyz", mirrored="y"), (36, 48, 20)),
}


@pytest.mark.parametrize("name", GRIDS)
def test_a_ball_is_boxed_in_voxels_and_millimetres_of_its_scan(name, tmp_path, config, checkpoint):
    volume = ball(*GRIDS[name])
    write_nifti(volume, tmp_path / "ball.nii.gz")
    main(["predict", config, checkpoint, str(tmp_path / "ball.nii.gz"), "-o", str(tmp_path / "out")])
    report = json.loads((tmp_path / "out/ball.findings.json").read_text())
    (finding,) = report["findings"]
    filled = np.argwhere(volume.array[0])
    low, high = filled.min(0), filled.max(0) + 1
    box = np.array(finding["box_voxels_dhw"]).reshape(2, 3)
    axis = "dhw".index(report["slices_along"])
    assert axis == (2 if name == "sagittal" else 0)
    # Slices 1 mm apart are asked about two by two: 2.5 mm are never exceeded, and each stands for two.
    off = 1 if name == "thin" else 0
    assert np.abs(box - [low, high])[:, axis].max() <= off
    plane = [place for place in range(3) if place != axis]
    assert box[:, plane].tolist() == [low[plane].tolist(), high[plane].tolist()]
    # In mm the ball reaches from its centre by its radius, up to the voxel that holds its end.
    ends = np.array(finding["box_mm_xyz"]).reshape(2, 3)
    assert np.abs(ends - [CENTRE - RADIUS, CENTRE + RADIUS]).max() <= max(volume.spacing)
    assert np.abs(np.array(finding["centre_mm_xyz"]) - CENTRE).max() <= max(volume.spacing) / 2
    assert finding["score"] == 0.75 and finding["label"] == "lesion"
    # The best slice is that of the largest disc: no other is nearer to the centre.
    middle = volume.affine[2, axis] * finding["slice"] + volume.affine[2, 3]
    assert abs(middle - CENTRE[2]) <= volume.spacing[axis] * (0.5 + off)


def test_what_is_resized_for_the_network_is_found_where_it_is(tmp_path, config, checkpoint):
    volume = ball(*GRIDS["flipped"])
    resize = 'dict(type="RandomChoiceResize3D", sizes=(88,))'  # twice the columns and rows
    Path(config).write_text(Path(config).read_text().replace('dict(type="PackD', f'{resize}, dict(type="PackD'))
    predictor = Predictor(config, checkpoint, device="cpu")
    found = predictor(volume)
    filled = np.argwhere(volume.array[0])
    assert np.abs(found.boxes.corners - [[*filled.min(0), *(filled.max(0) + 1)]]).max() <= 0.5
    assert {shape[3:] for shape in predictor.model.batches} == {(96, 96)}  # 80 x 88, padded to multiples of 32


def test_batches_hold_as_many_windows_as_the_config_says_and_every_slice_is_asked_once(config, checkpoint):
    predictor = Predictor(config, checkpoint, device="cpu")
    assert predictor.detects and predictor.classes == ("lesion",)
    # Slices lie 2.5 mm apart, then 2: 10 mm are five of them, so four of twenty are asked about; 1 mm is less than one.
    for every, asked in ((None, [4, 4, 2]), (2.0, [4, 4, 4, 4, 4]), (1.0, [4, 4, 4, 4, 4]), (10.0, [4])):
        predictor.model.batches.clear()
        predictor.find(ball(grid((2, 1, 1) if every else (2.5, 1, 1)), (20 if every else 10, 16, 16)), every=every)
        assert [shape[0] for shape in predictor.model.batches] == asked, every
    with pytest.raises(ValueError, match="every=0"):
        predictor.find(ball(*GRIDS["up"]), every=0)


def test_a_window_is_shown_from_head_to_feet_with_the_right_on_the_left():
    """Each voxel says where it is: x + 100 y + 10000 z."""
    shape, seen = (3, 4, 5), []
    affine = grid((2.5, 1, 1))
    array = np.einsum("k,kdhw->dhw", [10000.0, 100.0, 1.0], np.indices(shape))[None]

    def detect(packed):
        seen.extend(each["inputs"][0] for each in packed)
        for each in packed:
            each["data_samples"].pred_boxes, each["data_samples"].pred_scores = nothing.boxes, nothing.scores
        return [each["data_samples"] for each in packed]

    nothing = join_slices(Boxes(np.empty((0, 6))), np.empty(0), np.empty(0, int))
    swept = sweep(detect, Sample(Volume(array, affine)), SpacedWindow(1, 2.5), PackDetection())
    assert len(swept.boxes) == 0 and swept.step == 1
    # From the top: the highest z first; in a slice the front row (highest y) and the patient's right (highest x) first.
    assert [int(window[0, 0, 0]) for window in seen] == [20304, 10304, 304]
    assert int(seen[0][0, -1, 0]) == 20004 and int(seen[0][0, 0, -1]) == 20300


def test_a_dicom_series_and_its_patient_is_named_nowhere(tmp_path, config, checkpoint, capsys):
    series = tmp_path / "series"
    series.mkdir()
    for place in range(8):  # 3 mm apart; the third to the sixth are bright all over
        write_slice(series, 3 * place, 100 if 2 <= place < 6 else 0, shape=(8, 12))
    main(["predict", config, checkpoint, str(series), "-o", str(tmp_path / "out")])
    (finding,) = json.loads((tmp_path / "out/series.findings.json").read_text())["findings"]
    assert finding["box_voxels_dhw"] == [2, 0, 0, 6, 8, 12]
    # The first voxel's middle lies at left -7, back -8, that is x = 7, y = 8; columns go 1 mm to the left, rows 2 mm
    # back: x from 7.5 to -4.5, y from 9 to -7; slices 2 to 5 lie at 6 to 15 mm: z from 4.5 to 16.5.
    assert finding["box_mm_xyz"] == [-4.5, -7, 4.5, 7.5, 9, 16.5]
    assert finding["size_mm_dhw"] == [12, 16, 12]
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) == 5  # labels, findings of the scan, picture, table, page
    assert b"DOE" not in b"".join(path.read_bytes() for path in files) and "DOE" not in "".join(capsys.readouterr())


def test_one_bad_scan_does_not_stop_the_rest_and_the_overview_is_of_all(tmp_path, config, checkpoint, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    empty = Volume(np.zeros((1, 4, 16, 16), np.float32))
    for name, scan in (("a&b", ball(*GRIDS["up"])), ("bad", empty), ("empty", empty)):
        write_nifti(scan, folder / f"{name}.nii.gz")
    (folder / "bad.nii.gz").write_bytes((folder / "bad.nii.gz").read_bytes()[:-20])
    with pytest.raises(SystemExit) as left:
        main(["predict", config, checkpoint, str(folder), "-o", str(out)])
    assert left.value.code == 1
    said = capsys.readouterr()
    assert said.err.startswith("1 of 3 scans could not be searched:") and "bad.nii.gz: is truncated" in said.err
    table = pd.read_csv(out / "findings.csv")
    assert table["scan"].tolist() == ["a&b"] and table["rank"].tolist() == [1] and table["score"].tolist() == [0.75]
    page = (out / "findings.html").read_text(encoding="utf-8")
    assert "a&amp;b" in page and page.count("data:image/jpeg") == 1 and "Nothing was found." in page
    assert "not a medical device" in page
    assert json.loads((out / "labels.json").read_text()) == {"labels": {"0": "lesion"}, "checkpoints": [checkpoint]}

    # What is there stays, what is mended is added, and another scan later does not push it out.
    before = (out / "a&b.findings.json").stat().st_mtime_ns
    write_nifti(ball(*GRIDS["thick"]), folder / "bad.nii.gz")
    main(["predict", config, checkpoint, str(folder / "bad.nii.gz"), "-o", str(out)])
    assert "findings of 1 scans were written" in capsys.readouterr().out
    assert pd.read_csv(out / "findings.csv")["scan"].tolist() == ["a&b", "bad"]
    assert (out / "findings.html").read_text(encoding="utf-8").count("data:image/jpeg") == 2
    main(["predict", config, checkpoint, str(folder), "-o", str(out)])
    assert "3 of 3 scans are in" in capsys.readouterr().out
    assert (out / "a&b.findings.json").stat().st_mtime_ns == before

    # Overwritten with nothing to be found, its picture goes.
    write_nifti(empty, folder / "bad.nii.gz")
    main(["predict", config, checkpoint, str(folder / "bad.nii.gz"), "-o", str(out), "--overwrite"])
    assert not list((out / "pictures/bad").iterdir())
    assert pd.read_csv(out / "findings.csv")["scan"].tolist() == ["a&b"]


def test_so_many_findings_are_told_at_most(config, checkpoint):
    """Three slabs, two empty slices or more between them."""
    array = np.zeros((1, 14, 16, 16), np.float32)
    for first, side in ((1, 4), (5, 8), (10, 6)):
        array[0, first : first + 2, 4 : 4 + side, 4 : 4 + side] = 100
    predictor = Predictor(config, checkpoint, device="cpu")
    volume = Volume(array, grid((2.5, 1, 1)))
    # Equal scores: the largest first.
    assert predictor.find(volume, top=None).boxes.corners[:, [0, 3]].tolist() == [[5, 7], [10, 12], [1, 3]]
    assert predictor.find(volume, top=2).boxes.corners[:, [0, 3]].tolist() == [[5, 7], [10, 12]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ensemble", "CHECKPOINT"], "a detector answers by itself"),
        (["--top", "0"], "--top is 1 or more"),
        (["--every", "-1"], "--every a positive length"),
        (["--cfg-options", "model.type=SliceWindowSegmentor", "--top", "3"], "--top and --every are for detectors"),
    ],
)
def test_a_mistake_is_said_before_anything_is_done(words, message, tmp_path, config, checkpoint, capsys):
    write_nifti(ball(*GRIDS["up"]), tmp_path / "a.nii.gz")
    words = [checkpoint if word == "CHECKPOINT" else word for word in words]
    with pytest.raises(SystemExit) as left:
        main(["predict", config, checkpoint, str(tmp_path / "a.nii.gz"), "-o", str(tmp_path / "out"), *words])
    assert left.value.code == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_pipeline_that_boxes_nothing_is_refused(config, checkpoint):
    predictor = Predictor(config, checkpoint, device="cpu")
    predictor.pipeline.pop()
    with pytest.raises(ValueError, match="does not end in PackDetection"):
        predictor(ball(*GRIDS["up"]))


def test_browse_outlines_the_boxes_in_the_key_slice(tmp_path):
    small = ["train_dataloader.dataset.make.lesions=(1,1)", "train_dataloader.dataset.make.distractors=(0,0)"]
    main(["browse", "configs/debug/detect.py", "--number", "1", "--out", str(tmp_path), "--cfg-options", *small])
    with Image.open(tmp_path / "train_01.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    coloured = np.abs(pixels[: len(pixels) * 3 // 4] - [230, 159, 0]).max(-1) < 10  # the palette's first, no legend
    right, left = coloured[:, coloured.shape[1] // 2 :], coloured[:, : coloured.shape[1] // 2]
    assert right.sum() > 100 and not left.sum() > 100
