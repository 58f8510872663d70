"""DeepLesion and other lesions in boxes: the table, its coordinates, windows out of pictures and cache, bad input."""

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vdt3d.cli import main
from vdt3d.datasets import DeepLesion, LesionScans, read_box_lists
from vdt3d.datasets.prepare import Report, prepare_deeplesion, prepare_lesion_scans
from vdt3d.datasets.prepare.deeplesion import IGNORED, USED, read_lesions
from vdt3d.datasets.prepare.lesion_scans import _listed, _parts
from vdt3d.io import CachedSeries, ScanError, write_nifti
from vdt3d.structures import Volume, affine_from_spacing
from vdt3d.transforms import PackDetection, Window

SERIES = "000089_01_01"
ROW = {
    "File_name": f"{SERIES}_004.png",
    "Patient_index": "89",
    "Study_index": "1",
    "Series_ID": "1",
    "Key_slice_index": "4",
    "Measurement_coordinates": "1, 1, 1, 1, 1, 1, 1, 1",
    "Bounding_boxes": "3.25, 2, 7.5, 6",
    "Lesion_diameters_Pixel_": "5, 2.5",
    "Normalized_lesion_location": "0.3, 0.4, 0.55",
    "Coarse_lesion_type": "5",
    "Possibly_noisy": "0",
    "Slice_range": "1, 6",
    "Spacing_mm_px_": "0.8, 0.8, 5",
    "Image_size": "8, 10",
    "DICOM_windows": "-175, 275",
    "Patient_gender": "F",
    "Patient_age": "71",
    "Train_Val_Test": "1",
}


@pytest.fixture(autouse=True)
def no_garbage(monkeypatch):
    """mmengine collects garbage for every data set it makes: half a second each, in a process that holds torch."""
    monkeypatch.setattr("mmengine.dataset.base_dataset.gc.collect", lambda: 0)


def write_table(root: Path, *changes: dict) -> Path:
    """A line for each of ``changes`` of ``ROW``."""
    root.mkdir(exist_ok=True)
    pd.DataFrame([ROW | change for change in changes]).to_csv(root / "DL_info.csv", index=False)
    return root


def write_pictures(root: Path, series: str = SERIES, numbers=range(1, 7), size=(8, 10)) -> Path:
    """Slice n is of 100 n Hounsfield units, and of its column more."""
    folder = root / "Images_png" / series
    folder.mkdir(parents=True)
    for number in numbers:
        hounsfield = 100 * number + np.tile(np.arange(size[1]), (size[0], 1)) - 1024
        Image.fromarray((hounsfield + 32768).astype(np.uint16)).save(folder / f"{number:03d}.png")
    return folder


def run(root: Path, **options) -> Report:
    return prepare_deeplesion(root, root, workers=1, **options)


def annotations(root: Path, part: str = "train") -> dict:
    return json.loads((root / "annotations" / f"{part}.json").read_text())


def bad(report: Report) -> list[tuple[str, str]]:
    return [(problem.case, problem.finding) for problem in report.problems]


# The table


def test_the_lines_of_a_key_slice_become_one_image(tmp_path: Path):
    second = {"Bounding_boxes": "1, 1, 3, 4", "Coarse_lesion_type": "-1", "Possibly_noisy": "1", "Slice_range": "3, 9"}
    other = {"File_name": f"{SERIES}_005.png", "Key_slice_index": "5", "Train_Val_Test": "3"}
    root = write_table(tmp_path, {}, other, second)
    report = run(root)
    assert report == ({"train": (1, 2), "val": (0, 0), "test": (1, 1)}, 0, 0, [])
    (image,), (first, noisy) = (annotations(root)[key] for key in ("images", "annotations"))
    assert image == {
        "id": 1,
        "file_name": f"{SERIES}/004.png",
        "height": 8,
        "width": 10,
        "slice_no": 4,
        "spacing": 0.8,
        "slice_intv": 5.0,
        "patient": "000089",
        "z_position": 0.55,
        "windows": [-175, 275],
        "slice_range": [1, 9],
    }
    # One less than the table, as in the published files; 4.25 x 4 pixels; the longer diameter, 5 pixels of 0.8 mm.
    assert first == {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [2.25, 1, 4.25, 4],
        "area": 17.0,
        "iscrowd": 0,
        "noisy": 0,
        "type": "lung",
        "diameter_mm": 4.0,
    }
    assert (noisy["bbox"], noisy["area"], noisy["noisy"], noisy["type"]) == ([0, 0, 2, 3], 6.0, 1, "")
    assert annotations(root, "val") == {"images": [], "annotations": [], "categories": [{"id": 1, "name": "lesion"}]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Bounding_boxes": "7, 2, 3, 6"}, "Bounding_boxes '7, 2, 3, 6' .* inverted"),
        ({"Bounding_boxes": "3, 2, 3, 6"}, "empty"),
        ({"Bounding_boxes": "12, 2, 15, 6"}, "outside the slice of 8 x 10"),
        ({"Bounding_boxes": "3, 2, 7"}, "is not 4 finite numbers"),
        ({"Bounding_boxes": "3, 2, nan, 6"}, "is not 4 finite numbers"),
        ({"Bounding_boxes": ""}, "is not 4 finite numbers"),
        ({"Spacing_mm_px_": "0.8, 0.8, 0"}, "Spacing_mm_px_ .* above 0"),
        ({"Lesion_diameters_Pixel_": "one, two"}, "Lesion_diameters_Pixel_ 'one, two'"),
        ({"Train_Val_Test": "4"}, "Train_Val_Test 4"),
        ({"Coarse_lesion_type": "0"}, "Coarse_lesion_type 0"),
        ({"Key_slice_index": "5"}, "Key_slice_index 5 .* File_name"),
        ({"File_name": "x.png"}, "not of the form 000001_01_01_109.png"),
    ],
)
def test_a_line_that_cannot_be_is_named_and_the_rest_goes_on(tmp_path: Path, change: dict, said: str):
    root = write_table(tmp_path, change, {"File_name": f"{SERIES}_006.png", "Key_slice_index": "6"})
    report = run(root)
    (problem,) = report.problems
    assert problem.file.endswith("DL_info.csv, line 2") and report.counts["train"] == (1, 1)
    assert re.search(said, problem.finding)
    assert json.loads((root / "problems.json").read_text()) == [problem._asdict()]
    write_table(root, {})
    assert run(root).problems == [] and not (root / "problems.json").exists()


def test_lines_that_disagree_are_left_out_together(tmp_path: Path):
    report = run(write_table(tmp_path, {}, {"Train_Val_Test": "2"}))
    assert report.counts == {"train": (0, 0), "val": (0, 0), "test": (0, 0)}
    assert "lines 2, 3" in report.problems[0].file and "different splits" in report.problems[0].finding


def test_a_table_without_a_column_is_refused(tmp_path: Path):
    table = write_table(tmp_path, {}) / "DL_info.csv"
    pd.read_csv(table).drop(columns=["Bounding_boxes", "Spacing_mm_px_"]).to_csv(table, index=False)
    with pytest.raises(ValueError, match=r"must fill .*'Bounding_boxes'.*'Spacing_mm_px_'"):
        run(tmp_path)
    with pytest.raises(ValueError, match=r"there is no table .*nowhere.csv"):
        prepare_deeplesion(tmp_path / "nowhere.csv", tmp_path)
    with pytest.raises(ValueError, match=r"there is no folder .*no_pictures"):
        run(tmp_path, images=tmp_path / "no_pictures")


# Pictures and cache


def test_pictures_and_cache_give_the_same_windows(tmp_path: Path):
    write_pictures(write_table(tmp_path, {}))
    assert run(tmp_path) == ({"train": (1, 1), "val": (0, 0), "test": (0, 0)}, 1, 1, [])
    for prepared in (None, "prepared"):
        data = DeepLesion(tmp_path, window={"slices": 7, "spacing": 2.5}, prepared=prepared)
        sample = pickle.loads(pickle.dumps(data))[0]  # as in a worker
        assert (len(data), sample.name, sample.group) == (1, f"{SERIES}_004", "000089")
        assert data.metainfo["classes"] == ("lesion",) and data.targets().tolist() == [1]
        array = sample.image.array
        assert array.shape == (1, 7, 8, 10) and array.dtype == np.float32
        # 5 mm apart: slices 2.5, 3, 3.5, 4, 4.5, 5, 5.5, of 100 each, from -1024 on, and 9 more in the last column
        wanted = [-774, -724, -674, -624, -574, -524, -474]
        assert array[0, :, 0, 0].tolist() == wanted and array[0, :, 7, 9].tolist() == [hu + 9 for hu in wanted]
        assert sample.image.spacing == pytest.approx((2.5, 0.8, 0.8))
        # The table counts from 1 at the middle of the first pixel, which reaches from 0 to 1: half a pixel less.
        assert sample.boxes.corners.tolist() == [[3, 1.5, 2.75, 4, 5.5, 7.0]]
        assert sample.reference is sample.boxes and sample.boxes.labels.tolist() == [0]
        facts = {name: values.tolist() for name, values in sample.boxes.facts.items()}
        assert facts == {"type": ["lung"], "diameter_mm": [4.0], "noisy": [False]}


def test_the_grid_is_that_of_the_series(tmp_path: Path):
    """Slice n lies n times 5 mm down, rows go back and columns to the patient's left, as on a radiologist's screen."""
    write_pictures(write_table(tmp_path, {}))
    run(tmp_path, cache=False)
    affine = DeepLesion(tmp_path)[0].image.affine  # slice 4 is number 4 of 9
    np.testing.assert_allclose(affine @ [4, 0, 0, 1], [0, 0, -20, 1])
    np.testing.assert_allclose(affine @ [5, 1, 1, 1], [-0.8, -0.8, -22.5, 1])


def test_a_second_run_goes_on_where_the_first_was(tmp_path: Path):
    folder = write_pictures(write_table(tmp_path, {}))
    (folder / "006.png").write_bytes(b"no picture")
    first = run(tmp_path)
    second = run(tmp_path)
    assert (first.new, second.new, second.series) == (1, 0, 1) and bad(first) == bad(second) != []
    Image.fromarray(np.full((8, 10), 32768, np.uint16)).save(folder / "006.png")
    third = run(tmp_path)
    assert (third.new, third.problems) == (1, [])


def test_what_is_wrong_with_pictures_is_named_and_the_rest_goes_on(tmp_path: Path):
    second, third, fourth = "000090_01_01", "000091_01_01", "000092_01_01"
    rows = [
        {"File_name": f"{name}_{number:03d}.png", "Patient_index": name[3:6], "Key_slice_index": str(number)}
        for name, number in ((second, 4), (second, 5), (third, 4), (fourth, 4))
    ]
    write_table(tmp_path, {}, *rows)
    write_pictures(tmp_path, SERIES, numbers=(1, 2, 4, 6))  # 3 and 5 are missing
    folder = write_pictures(tmp_path, second)
    Image.fromarray(np.zeros((8, 10), np.uint8)).save(folder / "004.png")  # a key slice of 8 bits
    write_pictures(tmp_path, third, size=(8, 12))
    report = run(tmp_path)
    findings = {problem.file.removeprefix(f"{tmp_path}/Images_png/"): problem.finding for problem in report.problems}
    assert findings[SERIES] == "of the neighbours that the table says are there, it lacks 3, 5"
    assert "(8, 12) pixels (H, W), where the table says (8, 10)" in findings[f"{third}/001.png"]
    assert findings[f"{third}/004.png"] == "is missing or damaged: the key slice is left out"
    assert findings[fourth] == "is not a folder"
    assert any("uint8" in problem.finding for problem in report.problems)
    # Left are slice 4 of the first series and slice 5 of the second.
    data = DeepLesion(tmp_path, window={"slices": 3, "spacing": 5.0}, prepared="prepared")
    assert [data[index].name for index in range(len(data))] == [f"{SERIES}_004", f"{second}_005"]
    assert data[0].image.array[0, :, 0, 0].tolist() == [-624, -624, -624]  # slices 3 and 5 are stood for by 4
    assert data[1].image.array[0, :, 0, 0].tolist() == [-524, -524, -424]  # slice 4 by 5


def test_the_cache_holds_a_chunk_for_each_slice(tmp_path: Path):
    write_pictures(write_table(tmp_path, {}), numbers=(2, 4, 5))
    run(tmp_path)
    series = CachedSeries(tmp_path / "prepared/series", SERIES)
    assert series.numbers.tolist() == [2, 4, 5]
    planes = series.planes([5, 2])
    assert {number: int(plane[0, 3]) for number, plane in planes.items()} == {5: -521, 2: -821}
    assert planes[5].dtype == np.int16
    (tmp_path / "prepared/series" / f"{SERIES}.b2nd").write_bytes(b"")
    with pytest.raises(ScanError, match="truncated or damaged"):
        series.planes([5])


def test_the_command(tmp_path: Path, capsys):
    write_pictures(write_table(tmp_path, {}, {"Bounding_boxes": "0"}))
    with pytest.raises(SystemExit) as left:
        main(["prepare", "deeplesion", str(tmp_path), str(tmp_path / "out"), "--workers", "1"])
    shown = capsys.readouterr().out
    assert left.value.code == 1 and "train: 1 key slices with 1 boxes" in shown and "Bounding_boxes '0'" in shown
    with pytest.raises(SystemExit) as left:
        main(["prepare", "deeplesion", str(tmp_path), str(tmp_path), "--spacing", "1", "1", "1", "--nan", "zero"])
    assert left.value.code == 2 and "knows no --spacing, --nan" in capsys.readouterr().err


# The data set


def published(root: Path, *boxes: dict, **image) -> Path:
    """Annotations as the published files have them, with an area that is wrong; one image without boxes."""
    known = {"height": 8, "width": 10, "spacing": 0.8, "slice_intv": 2.5, "slice_no": 4, "z_position": 0.5}
    content = {
        "images": [
            {"file_name": f"{SERIES}/004.png", "id": 1, "windows": [-175.0, 275.0], **known, **image},
            {"file_name": f"{SERIES}/005.png", "id": 2, "windows": [-175.0, 275.0], **known},
        ],
        "annotations": [
            {"id": n, "image_id": 1, "category_id": 1, "area": 1e6, "segmentation": [[]], "iscrowd": 0} | box
            for n, box in enumerate(boxes)
        ],
        "categories": [{"id": 1, "name": "Lesion"}],
    }
    (root / "annotations").mkdir()
    (root / "annotations/train.json").write_text(json.dumps(content))
    return root


def test_published_files_are_read(tmp_path: Path):
    write_pictures(tmp_path)
    published(tmp_path, {"bbox": [2.25, 1, 4.25, 4], "noisy": 1}, {"bbox": [-3, 5, 5, 9], "noisy": 0})
    data = DeepLesion(tmp_path, window={"slices": 3}, pipeline=[Window(center=-600, width=400), PackDetection()])
    packed = data[0]["data_samples"]
    # The second reaches out of the slice on three sides and is cut: from (0, 5.5) to (2.5, 8).
    assert packed.gt_boxes.tolist() == [[2.75, 1.5, 7.0, 5.5], [0.0, 5.5, 2.5, 8.0]]
    assert packed.group == "000089" and packed.reference.facts["type"].tolist() == ["", ""]
    assert np.isnan(packed.reference.facts["diameter_mm"]).all()
    assert packed.reference.facts["noisy"].tolist() == [True, False]
    assert len(data[1]["data_samples"].gt_boxes) == 0 and data.targets().tolist() == [1, 0]


def test_pictures_may_lie_elsewhere(tmp_path: Path):
    write_pictures(tmp_path / "downloads")
    published(tmp_path, {"bbox": [2, 1, 4, 4]})
    data = DeepLesion(tmp_path, data_prefix={"img": str(tmp_path / "downloads/Images_png")})
    assert data[0].image.array[0, 4, 0, 0] == -624


def test_noisy_boxes_are_dropped_on_demand(tmp_path: Path):
    write_pictures(tmp_path)
    published(tmp_path, {"bbox": [2, 1, 4, 4], "noisy": 1}, {"bbox": [3, 5, 5, 2], "noisy": 0})
    assert DeepLesion(tmp_path, noisy="drop")[0].boxes.corners.tolist() == [[4, 5.5, 3.5, 5, 7.5, 8.5]]
    content = annotations(tmp_path)
    content["annotations"] = content["annotations"][:1]
    (tmp_path / "annotations/train.json").write_text(json.dumps(content))
    # Only a noisy box is left: the key slice is no negative, and goes too.
    data = DeepLesion(tmp_path, noisy="drop")
    assert [data[index].name for index in range(len(data))] == [f"{SERIES}_005"]
    with pytest.raises(ValueError, match="noisy='hide'"):
        DeepLesion(tmp_path, noisy="hide")


@pytest.mark.parametrize(
    ("boxes", "image", "said"),
    [
        ([{"bbox": [2, 1, 0, 4]}], {}, "000089_01_01/004.png: the box .* is empty or inverted"),
        ([{"bbox": [2, 1, 3, -4]}], {}, "is empty or inverted"),
        ([{"bbox": [20, 1, 3, 4]}], {}, "is outside its slice of 8 x 10"),
        ([{"bbox": [1, 2, 3]}], {}, "004.png: not enough values"),
        ([{}], {}, "004.png: it lacks 'bbox'"),
        ([{"bbox": [1, 2, 3, 4], "image_id": 7}], {}, "1 images .* not listed, such as 7"),
        ([{"bbox": [1, 2, 3, 4]}, {"bbox": [1, 2, 3, 4], "category_id": 2}], {}, r"categories \[1, 2\]"),
        ([], {"slice_intv": 0}, "three positive numbers"),
        ([], {"slice_intv": None}, "004.png"),
        ([], {"id": 2}, "of 2 images 1 have an id"),
        ([], {"file_name": f"{SERIES}/009.png"}, "1 files are missing, the first is .*009.png"),
    ],
)
def test_annotations_that_cannot_be_are_refused(tmp_path: Path, boxes: list, image: dict, said: str):
    write_pictures(tmp_path)
    published(tmp_path, *boxes, **image)
    with pytest.raises(ValueError, match=said):
        DeepLesion(tmp_path)


def test_files_that_are_no_annotations_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"there is no .*train.json; tools/dataset/prepare.py writes it"):
        DeepLesion(tmp_path)
    (tmp_path / "annotations").mkdir()
    for content in ("{", "[]", '{"images": []}'):
        (tmp_path / "annotations/train.json").write_text(content)
        with pytest.raises(ValueError, match="no COCO-style json"):
            DeepLesion(tmp_path)


def test_pictures_that_do_not_fit_are_refused_on_use(tmp_path: Path):
    folder = write_pictures(tmp_path)
    published(tmp_path, height=9)
    data = DeepLesion(tmp_path)
    with pytest.raises(ScanError, match=r"its slices are of \(8, 10\) pixels .* says \(9, 10\)"):
        data[0]
    Image.fromarray(np.zeros((8, 10), np.uint8)).save(folder / "005.png")
    with pytest.raises(ScanError, match=r"005.png: is a picture of uint8 where 16 bits"):
        data[1]
    fresh = DeepLesion(tmp_path)
    (folder / "004.png").unlink()
    with pytest.raises(ScanError, match="lacks the key slice 4"):
        fresh[0]


def test_each_slice_is_read_once_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_table(tmp_path, {"File_name": f"{SERIES}_010.png", "Key_slice_index": "10"})
    write_pictures(tmp_path, numbers=range(1, 21))
    run(tmp_path, cache=False)
    read = []
    monkeypatch.setattr(
        "vdt3d.io.series.read_plane", lambda path: read.append(int(path.stem)) or np.zeros((8, 10), np.uint16)
    )
    data = DeepLesion(tmp_path, window={"slices": 5, "spacing": 7.5})
    data[0]
    # 5 mm apart: 1.5 and 3 slices on either side
    assert read == [7, 8, 9, 10, 11, 12, 13]


# 3D boxes


def write_scans(root: Path, cases: list[dict], unit: str = "voxel") -> Path:
    """A scan of 6 x 8 x 10 voxels of 5 x 0.8 x 0.8 mm, in which one block is bright, and a list of boxes."""
    array = np.full((1, 6, 8, 10), -1000.0, np.float32)
    array[0, 2:5, 1:4, 6:9] = 50
    affine = affine_from_spacing((5.0, 0.8, 0.8))
    affine[:3, 3] = -3, -20, 100
    write_nifti(Volume(array, affine), root / "scans/a.nii.gz")
    (root / "boxes.json").write_text(json.dumps({"unit": unit, "cases": cases}))
    return root / "boxes.json"


@pytest.mark.parametrize(
    ("unit", "box"),
    [
        ("voxel", [6, 1, 2, 9, 4, 5]),
        # From the origin at (-3, -20, 100), half a voxel before the middles of voxels 6, 1, 2: x = -3 + 5.5 * 0.8, ...
        ("mm", [1.4, -19.6, 107.5, 3.8, -17.2, 122.5]),
    ],
)
def test_volumes_with_3d_boxes(tmp_path: Path, unit: str, box: list):
    cases = [{"scan": "scans/a.nii.gz", "patient": "P1", "split": "train", "boxes": [box], "types": ["liver"]}]
    report = prepare_lesion_scans(write_scans(tmp_path, cases, unit), tmp_path / "out", workers=1)
    assert report.counts == {"train": (1, 1), "val": (0, 0), "test": (0, 0)} and report.problems == []
    sample = LesionScans(tmp_path / "out", window={"slices": 3, "spacing": 5.0})[0]
    # Turned to down, back, left: slice 3 of 0 to 5 becomes slice 2, rows 1 to 4 become 4 to 7, columns 6 to 9 1 to 4.
    assert (sample.name, sample.group, sample.boxes.facts["type"].tolist()) == ("a_002", "P1", ["liver"])
    np.testing.assert_allclose(sample.boxes.corners, [[1, 4, 1, 2, 7, 4]], atol=1e-3)
    assert np.argwhere(sample.image.array[0, 1] == 50).min(0).tolist() == [4, 1]
    assert np.argwhere(sample.image.array[0, 1] == 50).max(0).tolist() == [6, 3]
    assert sample.image.array[0, :, 5, 2].tolist() == [50, 50, 50]


def test_a_key_slice_has_all_lesions_that_reach_into_it(tmp_path: Path):
    # Middles are slices 3 and 5 of the file, 2 and 0 when turned; the first box ends before slice 5 begins.
    boxes = [[6, 1, 2, 9, 4, 5], [0, 0, 3, 3, 3, 6], [5, 5, 5, 8, 8, 6]]
    cases = [{"scan": "scans/a.nii.gz", "split": "val", "boxes": boxes, "diameters_mm": [3, 4, 5]}]
    report = prepare_lesion_scans(write_scans(tmp_path, cases), tmp_path / "out", workers=1)
    assert report.counts["val"] == (3, 6)
    data = LesionScans(tmp_path / "out", ann_file="annotations/val.json")
    seen = {data[index].name: data[index].boxes.facts["diameter_mm"].tolist() for index in range(len(data))}
    assert seen == {"a_000": [4, 5], "a_001": [3, 4], "a_002": [3, 4]}


def test_scans_and_boxes_that_cannot_be_are_named(tmp_path: Path):
    boxes = [[6, 1, 2, 9, 4, 5], [6, 4, 2, 9, 1, 5], [20, 1, 2, 29, 4, 5], [1, 2, 3]]
    cases = [{"scan": "scans/a.nii.gz", "split": "train", "boxes": boxes}]
    cases.append({"scan": "scans/gone.nii.gz", "split": "train", "boxes": []})
    report = prepare_lesion_scans(write_scans(tmp_path, cases), tmp_path / "out", workers=1)
    assert report.counts["train"] == (1, 1) and report.series == 1
    findings = [finding for _, finding in bad(report)]
    assert [finding.split(",")[0] for finding in findings] == ["box 1", "box 3", "box 2", "does not exist"]
    assert "x1 < x2" in findings[0] and "outside the scan" in findings[2]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "boxes.json: is not json"),
        ("[]", "not of the form"),
        ('{"unit": "inch", "cases": [{"scan": "a", "boxes": []}]}', "not of the form"),
        ('{"unit": "mm", "cases": [{"scan": "a"}]}', "lacks .*boxes"),
        ('{"unit": "mm", "cases": [{"scan": "a", "boxes": [], "box": 1}]}', "says .*box.*; it may say scan"),
        ('{"unit": "mm", "cases": [{"scan": "a", "boxes": [], "types": ["x"]}]}', "0 boxes and 1 types"),
        ('{"unit": "mm", "cases": [{"scan": "x/a.nii", "boxes": []}, {"scan": "a.nrrd", "boxes": []}]}', "called 'a'"),
        ('{"unit": "mm", "cases": [{"scan": "a", "boxes": [], "split": "dev"}]}', "train, val and test"),
    ],
)
def test_lists_that_cannot_be_are_refused(tmp_path: Path, content: str, said: str):
    (tmp_path / "boxes.json").write_text(content)
    with pytest.raises(ValueError, match=said):
        prepare_lesion_scans(tmp_path / "boxes.json", tmp_path / "out", workers=1)


def test_patients_are_dealt_out_whole_and_never_torn(tmp_path: Path):
    cases = [{"scan": f"scans/{n}.nii.gz", "patient": f"P{n // 2}", "boxes": []} for n in range(28)]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"unit": "mm", "cases": cases}))
    parts = _parts(path, _listed(path)[0])
    assert all(parts[str(n)] == parts[str(n + 1)] for n in range(0, 28, 2))
    assert pd.Series(parts).value_counts().to_dict() == {"train": 20, "test": 4, "val": 4}  # of 14 patients 10, 2, 2
    cases[0]["split"], cases[1]["split"] = "train", "val"
    path.write_text(json.dumps({"unit": "mm", "cases": cases[:2]}))
    with pytest.raises(ValueError, match="patient P0 is in two parts"):
        prepare_lesion_scans(path, tmp_path)


def test_lists_of_3d_boxes_count_in_their_own_ways(tmp_path: Path):
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"val": {"000001_01_01_103-115": [[220, 88, 108, 246, 116, 115]]}, "test": {}}))
    ((part, series, first, last, boxes),) = read_box_lists(path)
    assert (part, series, first, last) == ("val", "000001_01_01", 103, 115)
    assert boxes.corners.tolist() == [[108, 88, 220, 116, 117, 247]]  # both ends are included
    path.write_text(json.dumps({"000001_01_01_103-115": [[224.5, 92, 241, 113, 5, 6], [2, 2, 3, 3, -0.5, 0.5]]}))
    ((part, *_, boxes),) = read_box_lists(path)
    # Half a pixel less; slices 108 and 109; slice 103 alone.
    assert part == "" and boxes.corners.tolist() == [
        [108, 91.5, 224, 110, 112.5, 240.5],
        [103, 1.5, 1.5, 104, 2.5, 2.5],
    ]
    path.write_text(json.dumps({"000001_01_01_103-115.annot": {"9": [[5, 5, 8, 8, 9, 9]], "0": []}}))
    assert read_box_lists(path)[0].boxes.corners.tolist() == [[112, 4.5, 4.5, 113, 7.5, 7.5]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"000001_01_01_103-115": [[5, 5, 8, 8, 9, 99]]}, "000001_01_01_103-115: the box .*99.* not in its slices"),
        ({"000001_01_01_103-115": [[8, 5, 5, 8, 9, 9]]}, "inverted"),
        ({"000001_01_01_103-115": [[8, 5, 5]]}, "no list of 3D boxes"),
        ({"val": {"somewhere": []}}, "'somewhere' is no sub-volume"),
        ([], "no list of 3D boxes"),
    ],
)
def test_lists_of_3d_boxes_that_cannot_be(tmp_path: Path, content, said: str):
    path = tmp_path / "list.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=said):
        read_box_lists(path)


# Real data


def test_the_published_table_is_read_whole(real_data: Path):
    table = real_data / "deeplesion_samples/DL_info_part.csv"
    assert {*USED, *IGNORED} == set(pd.read_csv(table).columns) and len(USED) + len(IGNORED) == 18
    slices, problems = read_lesions(table)
    lesions = [(key, lesion) for key in slices for lesion in key.lesions]
    assert (len(slices), len(lesions), problems) == (152, 158, [])
    parts = pd.Series([key.part for key, _ in lesions]).value_counts().to_dict()
    assert parts == {"train": 105, "test": 35, "val": 18}
    # The published validation file says of this slice 277.858, 167.325, 72.905 x 53.135.
    ((key, lesion),) = [pair for pair in lesions if (pair[0].series, pair[0].number) == ("000098_01_01", 34)]
    np.testing.assert_allclose(lesion.corners, [277.858, 167.325, 350.763, 220.46])
    assert (key.spacing, key.size, lesion.type) == ((2.0, 0.46875, 0.46875), (512, 512), "soft tissue")
    assert lesion.diameter_mm == pytest.approx(72.4511 * 0.46875, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "volumes", "boxes"),
    [
        ("manual_3d_boxes_1k", 1000, 5447),
        ("lesionharvester_3D-Box", 272, 874),
        ("lesionharvester_Revised-Train100", 100, 420),
    ],
)
def test_the_published_lists_of_3d_boxes_are_read_whole(real_data: Path, name: str, volumes: int, boxes: int):
    found = read_box_lists(real_data / f"deeplesion_samples/{name}.json")
    assert (len(found), sum(len(each.boxes) for each in found)) == (volumes, boxes)
    if volumes == 1000:
        assert pd.Series([each.part for each in found]).value_counts().to_dict() == {"test": 800, "val": 200}
