"""Preparation of the GI tract challenge's scans: cached with every number kept, in place or from its archive."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.datasets import GITract
from medseg.datasets.gi_slices import write_gi_like
from medseg.datasets.gi_tract import ORGANS
from medseg.datasets.prepare import Report, prepare
from vdt3d.io import LazyArray, list_cases, read_record
from vdt3d.structures import LabelMap
from vdt3d.transforms import Percentile3D, ZScore, undo


@pytest.fixture(autouse=True)
def no_garbage(monkeypatch):
    """mmengine collects garbage for every data set it makes: half a second each, in a process that holds torch."""
    monkeypatch.setattr("mmengine.dataset.base_dataset.gc.collect", lambda: 0)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Two case-days of two cases, case2_day0 and case9_day0."""
    return write_gi_like(tmp_path / "gi", cases=2, days=1, slices=8)


def run(root: Path, dst: Path | None = None, **options) -> Report:
    return prepare("gi_tract", root, dst or root, workers=1, **options)


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def by_hand(root: Path, name: str, planes: np.ndarray, codes: dict[int, str] | None = None) -> Path:
    """A case-day of ``planes`` (D, H, W) in ``root``, where ``codes`` are of the stomach, by slice number."""
    folder = root / "train" / name.partition("_")[0] / name / "scans"
    folder.mkdir(parents=True)
    _, height, width = planes.shape
    table = root / "train.csv"
    lines = [] if table.exists() else ["id,class,segmentation"]
    for number, plane in enumerate(planes.astype(np.uint16), start=1):
        Image.fromarray(plane).save(folder / f"slice_{number:04d}_{width}_{height}_1.50_1.50.png")
        for organ in ORGANS:
            code = (codes or {}).get(number, "") if organ == "stomach" else ""
            lines.append(f"{name}_slice_{number:04d},{organ},{code}")
    with table.open("a") as file:
        file.write("\n".join([*lines, ""]))
    return folder


def test_it_is_prepared_where_it_is(made: Path):
    before = files(made)
    report = run(made)
    assert report.problems == [] and [outcome.name for outcome in report.outcomes] == ["case2_day0", "case9_day0"]
    after = files(made)
    assert {name: after[name] for name in before} == before
    assert {name.partition("/")[0] for name in after.keys() - before.keys()} == {"prepared"}
    assert [outcome.new for outcome in run(made).outcomes] == [False, False]
    classes = report.fingerprint["classes"]
    assert classes["large_bowel+stomach"]["cases"] == 2 and classes["small_bowel+stomach"]["cases"] == 0
    assert report.fingerprint["median_spacing"] == [3, 1.5, 1.5]


def test_cached_cases_are_as_the_scans(made: Path):
    run(made)
    scans, cached = (
        GITract(made, split="all", prepared="prepared", whole_scans=whole_scans) for whole_scans in (True, False)
    )
    for index in range(2):
        whole, sample = scans[index], cached[index]
        assert isinstance(sample.image.array, LazyArray) and sample.image.array.dtype == np.int16
        assert whole.image.same_grid(sample.image) and (whole.name, whole.group) == (sample.name, sample.group)
        np.testing.assert_array_equal(np.asarray(whole.image.array), np.asarray(sample.image.array))
        labels = np.asarray(sample.label_map.array)
        inside = undo(LabelMap(labels, whole.image.affine), whole)
        np.testing.assert_array_equal(inside.array, whole.reference.array)  # nothing labelled was cut away


def test_a_window_is_scaled_by_its_whole_case(made: Path):
    """Numbers of the whole scan come with the record: slices 2 and 3 of it look as they do in all of it."""
    run(made)
    sample = GITract(made, split="all", prepared="prepared")[0]
    values = np.asarray(sample.image.array).astype(np.float64)
    np.testing.assert_allclose(sample.statistics["mean"], values.mean())
    np.testing.assert_allclose(sample.statistics["std"], values.std())
    for scale in (ZScore(), Percentile3D(0.5, 99.5)):
        whole = scale(sample.replace(label_map=None, statistics=None)).image.array
        window = sample.image.replace(array=sample.image.array[:, 2:4])
        np.testing.assert_allclose(
            scale(sample.replace(image=window, label_map=None)).image.array, whole[:, 2:4], atol=1e-5
        )


@pytest.mark.parametrize(("highest", "dtype"), [(32767, np.int16), (32768, np.float32), (65535, np.float32)])
def test_sixteen_bits_are_kept(highest: int, dtype: type, tmp_path: Path):
    planes = np.arange(1, 2 * 4 * 5 + 1).reshape(2, 4, 5)
    planes[1, 2, 3] = highest
    planes[0, 0, 0] = 0
    by_hand(tmp_path, "case1_day0", planes)
    assert run(tmp_path).problems == []
    array = GITract(tmp_path, split="all", prepared="prepared")[0].image.array
    assert array.dtype == dtype and np.array_equal(np.asarray(array)[0], planes)


def test_slices_that_are_cut_away_come_back_in_their_place(tmp_path: Path):
    """Slices 1 and 5 are black: the cache has three slices, a prediction five."""
    planes = np.zeros((5, 4, 6), int)
    planes[1:4, 1:3, 1:5] = 100 + np.arange(24).reshape(3, 2, 4)
    by_hand(tmp_path, "case1_day0", planes, codes={2: "9 2"})  # of six columns: the second row, columns 3 and 4
    run(tmp_path)
    assert read_record(tmp_path / "prepared/cases", "case1_day0")["shape"] == [1, 3, 2, 4]
    cached = GITract(tmp_path, split="all", prepared="prepared")[0]
    assert np.argwhere(np.asarray(cached.label_map.array)[0]).tolist() == [[0, 0, 1], [0, 0, 2]]
    whole = GITract(tmp_path, split="all", prepared="prepared", whole_scans=True)[0]
    assert whole.image.shape == (3, 2, 4)
    answer = undo(LabelMap(np.asarray(cached.label_map.array), whole.image.affine), whole)
    assert answer.same_grid(whole.reference) and answer.shape == (5, 4, 6)
    assert np.argwhere(answer.array[0]).tolist() == [[1, 1, 2], [1, 1, 3]]
    np.testing.assert_array_equal(answer.array, whole.reference.array)


def spoil(root: Path, what: str) -> str:
    """Make case2_day0 wrong in one way; the answer is what the problem says."""
    scans, table = root / "train/case2/case2_day0/scans", root / "train.csv"
    third = scans / "slice_0003_48_40_1.50_1.50.png"
    if what == "damaged":
        third.write_bytes(third.read_bytes()[:100])
        return "cannot be read as a picture"
    if what == "size":
        Image.fromarray(np.ones((48, 40), np.uint16)).save(third)
        return "is 40 x 48 pixels, where its name states 48 x 40"
    if what == "missing":
        shutil.rmtree(scans)
        return "is missing, a file of case 'case2_day0'"
    if what == "empty":
        for path in scans.iterdir():
            Image.fromarray(np.zeros((40, 48), np.uint16)).save(path)
        return "is empty: every voxel of channel 'MRI' is 0"
    lines = table.read_text().splitlines()
    if what == "rows":
        table.write_text("\n".join(line for line in lines if "case2_day0_slice_0003" not in line))
        return "has no rows for slices of case2_day0 that are in"
    assert what == "code"
    where = lines.index("case2_day0_slice_0001,stomach,")
    lines[where] += "5 3 6 1"
    table.write_text("\n".join(lines))
    return r"run 2 ('6 1') overlaps the run that it follows"


@pytest.mark.parametrize("what", ["damaged", "size", "missing", "empty", "rows", "code"])
def test_a_wrong_scan_is_named_and_the_rest_is_prepared(what: str, made: Path, tmp_path: Path):
    finding = spoil(made, what)
    report = run(made)
    (problem,) = report.problems
    assert problem["case"] == "case2_day0" and finding in problem["finding"]
    assert list_cases(made / "prepared/cases") == ["case9_day0"]
    assert json.loads((made / "problems.json").read_text()) == [problem]
    # Elsewhere the scan is left out, while the table that names it stays whole.
    assert len(run(made, tmp_path / "dst").problems) == 1
    assert sorted(path.name for path in (tmp_path / "dst/train").glob("*/*")) == ["case9_day0"]
    assert (tmp_path / "dst/train.csv").read_bytes() == (made / "train.csv").read_bytes()


def test_a_scan_that_goes_bad_is_taken_back(made: Path, tmp_path: Path):
    dst = tmp_path / "dst"
    assert run(made, dst).problems == []
    (dst / "train/case9/case9_day0/scans/slice_0099_40_40_1.50_1.50.png").write_bytes(b"of an earlier release")
    spoil(made, "rows")
    run(made, dst)
    assert list_cases(dst / "prepared/cases") == ["case9_day0"]
    assert not (dst / "train/case2/case2_day0/scans").exists()
    assert len(list((dst / "train/case9/case9_day0/scans").iterdir())) == 8


def test_only_scans_whose_slices_have_changed_are_prepared_anew(made: Path):
    run(made)
    path = made / "train/case9/case9_day0/scans/slice_0004_40_40_1.50_1.50.png"
    plane = np.full((40, 40), 9, np.uint16)
    Image.fromarray(plane).save(path)
    report = run(made)
    assert [outcome.name for outcome in report.outcomes if outcome.new] == ["case9_day0"]
    assert (np.asarray(GITract(made, split="all", prepared="prepared")[1].image.array)[0, 3] == 9).all()


def test_the_challenges_archive_becomes_a_data_set(made: Path, tmp_path: Path):
    """As downloaded, with a test scan besides; slices are linked, not written again."""
    by_hand(tmp_path / "other", "case30_day1", np.arange(24).reshape(2, 3, 4))
    shutil.move(tmp_path / "other/train/case30", made / "test/case30")
    archive = tmp_path / "uw-madison-gi-tract-image-segmentation.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in files(made):
            file.write(made / name, name)
    dst = tmp_path / "dst"
    report = run(archive, dst)
    assert report.problems == []
    assert [outcome.name for outcome in report.outcomes] == ["case2_day0", "case9_day0", "case30_day1"]
    assert list_cases(dst / "prepared/cases") == ["case2_day0", "case9_day0"]
    (slice_one,) = (dst / "train/case2/case2_day0/scans").glob("slice_0001_*")
    (unpacked,) = (dst / "unpacked").glob(f"*/train/case2/case2_day0/scans/{slice_one.name}")
    assert slice_one.samefile(unpacked)
    shutil.rmtree(dst / "unpacked")
    assert {"train.csv", "sample_submission.csv", "train", "test", "prepared"} == {path.name for path in dst.iterdir()}
    assert GITract(dst, split="test")[0].name == "case30_day1"
    for index, sample in enumerate(GITract(made, split="all")):
        np.testing.assert_array_equal(sample.image.array, np.asarray(GITract(dst, split="all")[index].image.array))


def test_scans_may_be_sampled_in_the_slices(made: Path):
    report = run(made, spacing="median")
    assert report.problems == []
    assert report.fingerprint["pipeline"][-1] == {"type": "ResampleSpacing3D", "spacing": [3, 1.5, 1.5]}
