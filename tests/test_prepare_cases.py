"""Preparation of cases: what is cut, sampled and measured by hand, and runs that are stopped and taken up again."""

import json
import os
import signal
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import processes
import pytest

from medseg.datasets import VolumeSegmentation
from medseg.datasets.prepare import Report, prepare
from medseg.datasets.prepare.cases import PERCENTS
from medseg.datasets.prepare.fingerprint import mixture_percentiles
from vdt3d.cli import main
from vdt3d.cli.prepare import _spacing
from vdt3d.io import ScanError, cache, list_cases, read_case, write_nifti
from vdt3d.structures import LabelMap, Volume, affine_from_spacing
from vdt3d.transforms import FingerprintNormalize, ZScore, undo

BODY = (slice(None), slice(1, 5), slice(2, 7))  # (4, 4, 5) voxels
UPSIDE_DOWN = np.array([[0.0, 0, 1, 5], [0, 1, 0, 0], [-4, 0, 0, 0], [0, 0, 0, 1]])  # spacing (4, 1, 1), z runs down


def write(root: Path, name: str, label_value: float, affine: np.ndarray) -> None:
    """Air around a body of water; ten voxels of it bear label 1 and one value, and the first voxel label 2."""
    image, labels = np.full((1, 4, 6, 8), -1000, np.float32), np.zeros((1, 4, 6, 8), np.uint8)
    image[:, *BODY] = 0
    labels[0, 1, 2:4, 2:7] = 1
    image[labels == 1] = label_value
    write_nifti(Volume(image, affine), root / f"imagesTr/{name}.nii.gz")
    write_nifti(LabelMap(labels, affine), root / f"labelsTr/{name}.nii.gz")


def describe(root: Path, *names: str) -> None:
    content = {
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "organ", "2": "rare"},
        "training": [{"image": f"imagesTr/{name}.nii.gz", "label": f"labelsTr/{name}.nii.gz"} for name in names],
    }
    (root / "dataset.json").write_text(json.dumps(content))


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Two cases, at 2 mm and, upside down, at 4 mm between slices."""
    root = tmp_path / "two"
    write(root, "a", 100, affine_from_spacing((2.0, 1.0, 1.0)))
    write(root, "b", 200, UPSIDE_DOWN)
    describe(root, "a", "b")
    return root


def run(root: Path, **options) -> Report:
    """Prepare the folder where it is, in this process."""
    return prepare("folder", root, root, workers=1, **options)


def new(report: Report) -> list[str]:
    return [outcome.name for outcome in report.outcomes if outcome.new]


def test_cases_are_turned_upright_and_cropped_to_the_body(two: Path):
    run(two)
    for name, affine in (("a", affine_from_spacing((2.0, 1.0, 1.0))), ("b", UPSIDE_DOWN)):
        sample = read_case(two / "prepared/cases", name)
        assert sample.image.shape == sample.label_map.shape == (4, 4, 5)
        steps = sample.image.affine[:3, :3]
        assert (np.diag(steps[::-1]) > 0).all() and np.count_nonzero(steps) == 3  # z, y, x along S, A, R
        # Voxel (1, 2, 2) of the scan is labelled: where is it in the world, and what is there in the cache?
        index = np.linalg.solve(sample.image.affine, affine @ [1, 2, 2, 1])[:3].round().astype(int)
        assert np.asarray(sample.label_map.array)[0, *index] == 1
        before = index - [0, 1, 0]  # one row before it, the body has no label
        assert np.asarray(sample.label_map.array)[0, *before] == 0


def test_the_fingerprint_is_as_worked_out_by_hand(two: Path):
    run(two)
    found = json.loads((two / "prepared/fingerprint.json").read_text())
    assert found["cases"] == 2
    assert found["median_spacing"] == [3, 1, 1] and found["median_shape"] == [4, 6, 8]
    assert found["pipeline"] == [{"type": "Reorient3D"}, {"type": "CropBody3D", "ct": True}]
    # The labelled voxels are ten of 100 and ten of 200: 50 away from their mean, each way.
    assert found["intensity"] == [
        {
            "modality": "CT",
            "percentile_00_5": 100,
            "median": 150,
            "percentile_99_5": 200,
            "mean": 150,
            "std": 50,
        }
    ]
    # 10 voxels of 2 mm3 and 10 of 4 mm3; 20 of 2 x 4 x 4 x 5 voxels in all.
    organ = {"label": 1, "cases": 2, "median_volume_mm3": 30, "frequency": 0.125}
    assert found["classes"]["organ"] == organ
    assert found["classes"]["rare"] == {"label": 2, "cases": 0, "median_volume_mm3": None, "frequency": 0}
    case = found["per_case"]["b"]
    assert case["shape"] == [4, 6, 8] and case["spacing"] == [4, 1, 1] and case["prepared_shape"] == [4, 4, 5]
    assert case["volumes_mm3"] == {"background": 280, "organ": 40}  # 80 - 10 voxels of 4 mm3
    assert case["intensity"][0]["mean"] == 200 and case["intensity"][0]["std"] == 0
    table = pd.read_csv(two / "prepared/summary.csv").set_index("case")
    assert table.loc["a", ["shape_z", "spacing_z", "prepared_shape_x", "organ_mm3", "rare_mm3"]].tolist() == [
        4,
        2,
        5,
        20,
        0,
    ]


def test_percentiles_are_those_of_the_mixture_of_cases():
    # One case is even from 0 to 100, one from 100 to 300: below 100 lies half of the mixture, and one percent of the
    # second case, half a percent of the mixture, beyond 298.
    percents = np.linspace(0, 100, 5)
    even = np.stack([percents, 100 + 2 * percents])
    assert mixture_percentiles(even, percents, (0.5, 50, 75, 99.5)) == pytest.approx([1, 100, 200, 298])
    # Between the values of two cases lies the middle.
    apart = np.stack([np.full(5, 100.0), np.full(5, 200.0)])
    assert mixture_percentiles(apart, percents, (0.5, 50, 99.5)) == pytest.approx([100, 150, 200])
    # Of a case of equal voxels and one from 0 to 100, a quarter of the mixture is below 50 and half is 50.
    jump = np.stack([np.full(5, 50.0), percents])
    assert mixture_percentiles(jump, percents, (10, 25, 50, 75, 90)) == pytest.approx([20, 50, 50, 50, 80])


def test_percentiles_of_skewed_cases_are_those_of_all_voxels_with_equal_weight():
    rng = np.random.default_rng(0)
    cases = [rng.exponential(100 + 50 * number, 4000) for number in range(6)]
    quantiles = np.array([np.percentile(case, PERCENTS) for case in cases])
    found = mixture_percentiles(quantiles, PERCENTS, (0.5, 50, 99.5))
    assert found == pytest.approx(np.percentile(np.concatenate(cases), (0.5, 50, 99.5)), rel=0.005, abs=0.1)


def test_whole_scans_are_made_like_the_prepared_cases(two: Path):
    """The data set class repeats the fingerprint's pipeline, and normalises with its numbers."""
    run(two)
    prepared = VolumeSegmentation(two, split="trainval", prepared="prepared")
    sample = prepared.read(prepared.get_data_info(1))
    organ = np.asarray(sample.label_map.array) == 1
    np.testing.assert_array_equal(FingerprintNormalize()(sample).image.array[organ], 1)  # (200 - 150) / 50
    run(two, spacing=(1.0, 1.0, 1.0))
    scans = VolumeSegmentation(two, split="trainval", prepared="prepared", whole_scans=True)
    for index in range(2):
        whole, sample = scans.read(scans.get_data_info(index)), prepared.read(prepared.get_data_info(index))
        assert whole.image.same_grid(sample.image)
        np.testing.assert_array_equal(whole.image.array, np.asarray(sample.image.array))


def test_the_median_spacing_is_measured_first(two: Path):
    report = run(two, spacing="median")
    shapes = {o.name: (o.record["shape"][1], o.record["spacing"][0]) for o in report.outcomes}
    # 4 slices of 2 mm are 3 of 2.67 mm (8 / 3 rounds to 3), and 4 of 4 mm are 5 of 3.2 mm (16 / 3 rounds to 5).
    assert shapes == {"a": (3, pytest.approx(8 / 3)), "b": (5, pytest.approx(3.2))}
    assert report.fingerprint["pipeline"][-1] == {"type": "ResampleSpacing3D", "spacing": [3, 1, 1]}
    assert report.fingerprint["per_case"]["b"]["spacing"] == [4, 1, 1]
    assert new(run(two, spacing="median")) == []


def test_an_axis_may_keep_its_spacing(two: Path):
    assert _spacing(["1", "None", "none"]) == (1, None, None)
    run(two, spacing=(1.0, None, None))
    found = json.loads((two / "prepared/fingerprint.json").read_text())
    assert found["pipeline"][-1] == {"type": "ResampleSpacing3D", "spacing": [1.0, None, None]}
    # 4 slices of 2 and of 4 mm become 8 and 16 of 1 mm; rows and columns stay.
    shapes = {name: (case["prepared_shape"], case["prepared_spacing"]) for name, case in found["per_case"].items()}
    assert shapes == {"a": ([8, 4, 5], [1, 1, 1]), "b": ([16, 4, 5], [1, 1, 1])}
    scans = VolumeSegmentation(two, split="trainval", prepared="prepared", spacing=(1, None, None), whole_scans=True)
    assert [scans.read(scans.get_data_info(index)).image.shape for index in range(2)] == [(8, 4, 5), (16, 4, 5)]


@pytest.mark.parametrize(("prepared", "named"), [(None, "not resampled"), ((2.0, 1.0, 1.0), "2.0, 1.0, 1.0")])
def test_data_prepared_at_another_spacing_is_refused(prepared, named: str, two: Path):
    run(two, spacing=prepared)
    with pytest.raises(ScanError) as refused:
        VolumeSegmentation(two, split="trainval", prepared="prepared", spacing=(1, None, None))
    said = str(refused.value)
    assert "fingerprint.json" in said and named in said and "--spacing 1 None None" in said
    with pytest.raises(ValueError, match="prepared"):
        VolumeSegmentation(two, split="trainval", spacing=(1, None, None))


KINDS = {  # of scan, with the shape that the preparation leaves
    ("CT", "body in air"): (4, 4, 5),
    ("CT", "air alone"): (4, 6, 8),
    ("CT", "label outside the body"): (4, 4, 5),
    ("MRI", "body in zeros"): (4, 4, 5),
    ("MRI", "no zeros"): (4, 6, 8),
    ("MRI", "negative values"): (4, 6, 8),
    ("MRI", "nothing positive"): (4, 6, 8),
    ("MRI", "label outside the body"): (4, 4, 5),
}


@pytest.mark.parametrize(("modality", "kind"), KINDS)
def test_test_scans_are_made_like_prepared_ones_of_every_kind(modality: str, kind: str, tmp_path: Path):
    write(tmp_path, "a", 100, UPSIDE_DOWN)
    write(tmp_path, "b", 100, UPSIDE_DOWN)  # of the first kind: a case must not depend on the others
    describe(tmp_path, "a", "b")
    table = tmp_path / "dataset.json"
    table.write_text(table.read_text().replace("CT", modality))
    image = np.full((1, 4, 6, 8), -1000 if modality == "CT" else 0, np.float32)
    image[:, *BODY] = np.arange(1, 81).reshape(4, 4, 5)
    if kind == "air alone":
        image = np.random.default_rng(0).normal(-1000, 10, image.shape).astype(np.float32)
    elif kind == "no zeros":
        image += 5
    elif kind == "negative values":
        image[0, 0, 0, 0] = -1  # 0 is no background then, but a value like others
    elif kind == "nothing positive":
        image = -image
    labels = np.zeros(image.shape, np.uint8)
    labels[0, 1, 2, 3:7] = 1
    if kind == "label outside the body":
        labels[0, 1, 0, :3] = (1, 1, 255)  # two voxels of a class, and one that nobody knows
    write_nifti(Volume(image, UPSIDE_DOWN), tmp_path / "imagesTr/a.nii.gz")
    write_nifti(LabelMap(labels, UPSIDE_DOWN), tmp_path / "labelsTr/a.nii.gz")

    found = run(tmp_path, spacing=(2.0, 1.0, 1.0)).fingerprint["per_case"]["a"]
    depth, height, width = KINDS[modality, kind]
    assert found["prepared_shape"] == [2 * depth, height, width]  # slices of 4 mm are sampled with 2 mm
    assert found["labelled_cut"] == (2 if kind == "label outside the body" else 0)
    prepared = {"split": "trainval", "prepared": "prepared"}
    whole, cached = (VolumeSegmentation(tmp_path, whole_scans=scans, **prepared)[0] for scans in (True, False))
    assert whole.name == cached.name == "a" and whole.image.same_grid(cached.image)
    np.testing.assert_array_equal(whole.image.array, np.asarray(cached.image.array))
    np.testing.assert_array_equal(ZScore()(whole).image.array, ZScore()(cached).image.array)
    assert undo(whole.image, whole).same_grid(whole.reference)  # a prediction goes back to the scan


def test_a_data_set_without_labelled_voxels_has_no_intensity(two: Path):
    for name, affine in (("a", affine_from_spacing((2.0, 1.0, 1.0))), ("b", UPSIDE_DOWN)):
        write_nifti(LabelMap(np.zeros((1, 4, 6, 8), np.uint8), affine), two / f"labelsTr/{name}.nii.gz")
    report = run(two)
    assert report.problems == [] and report.fingerprint["intensity"] == []
    assert report.fingerprint["classes"]["background"]["frequency"] == 1


def test_a_second_run_does_only_what_has_changed(two: Path):
    assert new(run(two)) == ["a", "b"]
    assert new(run(two)) == []
    write(two, "b", 300, UPSIDE_DOWN)
    assert new(run(two)) == ["b"]
    assert run(two).fingerprint["intensity"][0]["percentile_99_5"] == 300
    (two / "prepared/cases/a.json").unlink()
    assert new(run(two)) == ["a"]
    assert new(run(two, spacing=(1.0, 1.0, 1.0))) == ["a", "b"]
    record = cache.read_record(two / "prepared/cases", "a")
    assert record["shape"] == [1, 8, 4, 5]  # 4 slices of 2 mm
    assert new(run(two, reader={"nan": "zero"}, spacing=(1.0, 1.0, 1.0))) == ["a", "b"]


def test_a_case_gone_bad_leaves_the_cache_and_comes_back(two: Path):
    run(two)
    path = two / "imagesTr/a.nii.gz"
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    assert [problem["case"] for problem in run(two).problems] == ["a"]
    assert list_cases(two / "prepared/cases") == ["b"] and (two / "problems.json").exists()
    path.write_bytes(good)
    assert new(run(two)) == ["a"] and not (two / "problems.json").exists()


def killed_while_writing(root: Path, dst: Path) -> None:
    """Prepare, and be killed with the second case's label map written but not yet in its place."""
    honest, written = cache.write_aside, []

    def write_aside(path: Path, write) -> None:
        def and_die(aside: Path) -> None:
            write(aside)
            if path.name == "b.seg.b2nd":
                os.kill(os.getpid(), signal.SIGKILL)

        written.append(path.name)
        honest(path, and_die)

    cache.write_aside = write_aside
    prepare("folder", root, dst, workers=1)


def test_a_run_that_is_killed_leaves_nothing_half_written(two: Path, tmp_path: Path):
    dst, cases = tmp_path / "dst", tmp_path / "dst/prepared/cases"
    assert processes.call(killed_while_writing, two, dst).code == -signal.SIGKILL
    assert list_cases(cases) == ["a"]
    assert not (dst / "dataset.json").exists() and not (cases / "b.seg.b2nd").exists()
    assert list(cases.glob(".b.seg.b2nd.*")) != []  # what nobody could clear away
    report = prepare("folder", two, dst, workers=1)
    assert new(report) == ["b"] and report.problems == []
    assert list_cases(cases) == ["a", "b"] and (dst / "dataset.json").exists()
    assert [path for path in dst.rglob("*") if path.name.startswith(".")] == []


def test_a_full_disk_stops_the_run_and_leaves_nothing_half_written(two: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space left"):
        run(two)
    assert list_cases(two / "prepared/cases") == []
    assert [path for path in two.rglob("*") if path.name.startswith(".")] == []


def test_processes_do_what_one_does(two: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    # The contexts pickle alike; this one has the imports behind it.
    monkeypatch.setattr("vdt3d.utils.pool.get_context", lambda _: get_context("forkserver"))
    alone = prepare("folder", two, tmp_path / "alone", workers=1)
    main(["prepare", "folder", str(two), str(tmp_path / "dst"), "--workers", "2", "--spacing", "2", "1", "1"])
    shown = capsys.readouterr().out
    assert "Cases to learn from: 2, median 4 x 6 x 8 voxels of 3 x 1 x 1 mm" in " ".join(shown.split())
    assert shown.endswith("2 of 2 cases are good\n")
    spread = prepare("folder", two, tmp_path / "dst", workers=1, spacing=(2.0, 1.0, 1.0))
    assert new(spread) == []
    # Case a has 2 mm already: both ways it comes out the same.
    assert spread.fingerprint["per_case"]["a"] == alone.fingerprint["per_case"]["a"]


def be_killed(job) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_is_reported(two: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vdt3d.utils.pool.get_context", lambda _: get_context("forkserver"))
    monkeypatch.setattr("medseg.datasets.prepare.run.prepare_case", be_killed)
    with pytest.raises(ValueError, match=r"a worker was killed, most likely for want of memory: .* take fewer"):
        prepare("folder", two, two, workers=2)


@pytest.mark.parametrize("words", [["1", "2"], ["fine"], ["1", "-1", "1"], ["median", "1", "1"]])
def test_a_spacing_that_is_none_is_refused(words: list[str], two: Path, capsys):
    with pytest.raises(SystemExit) as left:
        main(["prepare", "folder", str(two), str(two), "--workers", "1", "--spacing", *words])
    said = capsys.readouterr().err
    assert left.value.code == 2 and "three" in said and "median" in said
