"""Preparation: tiny archives in the official layouts, the wrong things among them, become data sets that train."""

import json
import re
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medseg.datasets import ACDC, BTCV, LIDCSegmentation, LiTS, VolumeSegmentation
from medseg.datasets.gi_slices import write_gi_like
from medseg.datasets.prepare import SOURCES, prepare
from vdt3d.cli import main
from vdt3d.io import ScanError, list_cases, read_volume, write_nifti
from vdt3d.structures import LabelMap, Sample, Volume, affine_from_spacing

SHAPE = (8, 10, 12)
AFFINE = affine_from_spacing((3.0, 1.0, 1.0))


def scan(path: Path, seed: int = 0, affine: np.ndarray = AFFINE) -> None:
    """Whole Hounsfield numbers, as CT scanners write."""
    values = np.random.default_rng(seed).integers(-200, 200, (1, *SHAPE))
    write_nifti(Volume(values.astype(np.float32), affine), path)


def labels(path: Path, *present: int, shape: tuple[int, ...] = SHAPE, affine: np.ndarray = AFFINE) -> None:
    """One row of voxels for each label but 0, in the third slice."""
    array = np.zeros((1, *shape), np.uint8)
    for row, label in enumerate(present):
        array[0, 2, row] = label
    write_nifti(LabelMap(array, affine), path)


def soft_labels(path: Path) -> None:
    write_nifti(Volume(np.full((1, *SHAPE), 0.5, np.float32), AFFINE), path)


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def btcv(root: Path) -> None:
    for number in (1, 2, 3):
        scan(root / f"RawData/Training/img/img{number:04d}.nii.gz", number)
        labels(root / f"RawData/Training/label/label{number:04d}.nii.gz", 6, 13)
    scan(root / "RawData/Testing/img/img0061.nii.gz")


def lits(root: Path) -> None:
    for number, batch in ((0, "Training Batch 1"), (2, "Training Batch 1"), (10, "Training Batch 2")):
        scan(root / batch / f"volume-{number}.nii", number)
        labels(root / batch / f"segmentation-{number}.nii", 1, 2)
    scan(root / "test/test-volume-0.nii")


def acdc(root: Path) -> None:
    for patient, part in ((1, "training"), (2, "training"), (101, "testing")):
        folder = root / "database" / part / f"patient{patient:03d}"
        for frame in (1, 12):
            scan(folder / f"{folder.name}_frame{frame:02d}.nii.gz", patient + frame)
            labels(folder / f"{folder.name}_frame{frame:02d}_gt.nii.gz", 1, 2, 3)
        scan(folder / f"{folder.name}_4d.nii.gz")
        (folder / "Info.cfg").write_text("ED: 1\nES: 12\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n")


def msd(root: Path) -> None:
    root /= "Task09_Spleen"
    names = ("spleen_10", "spleen_12", "spleen_2")
    for seed, name in enumerate(names):
        scan(root / f"imagesTr/{name}.nii.gz", seed)
        labels(root / f"labelsTr/{name}.nii.gz", 1)
        (root / f"imagesTr/._{name}.nii.gz").write_bytes(b"what macOS leaves in archives")
    scan(root / "imagesTs/spleen_1.nii.gz")
    content = {
        "name": "Spleen",
        "licence": "CC-BY-SA 4.0",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "spleen"},
        "numTraining": 3,
        "training": [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names],
        "test": ["./imagesTs/spleen_1.nii.gz"],
    }
    (root / "dataset.json").write_text(json.dumps(content))


def nnunet(root: Path) -> None:
    root /= "Dataset001_Two"
    for name in ("a", "b", "c"):
        scan(root / f"imagesTr/{name}_0000.nii.gz", 1)
        scan(root / f"imagesTr/{name}_0001.nii.gz", 2)
        labels(root / f"labelsTr/{name}.nii.gz", 1, 2)
    content = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "whole": [1, 2], "core": [2]},
        "regions_class_order": [1, 2],
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(content))


def lidc(root: Path) -> None:
    names = ["lidc1_1", "lidc1_2", "lidc2_1"]
    (root / "nodule").mkdir(parents=True)
    (root / "info").mkdir()
    for seed, name in enumerate(names):
        voxel = np.random.default_rng(seed).integers(0, 256, (8, 8, 8)).astype(np.uint8)
        np.savez(root / f"nodule/{name}.npz", voxel=voxel, answer1=voxel > 250)
    table = pd.DataFrame({"index": names, "uid": ["p1", "p1", "p2"], "malignancy_mode": [1, 3, 5]})
    table.to_csv(root / "info/lidc_nodule_info_new_with_subset.csv", index=False)
    split = pd.DataFrame({"train": [f"{name}.npz" for name in names[:2]], "test": [f"{names[2]}.npz", None]})
    split.to_csv(root / "train_test_split.csv")


MAKE = {"btcv": btcv, "lits": lits, "acdc": acdc, "msd": msd, "nnunet": nnunet}
CASES = {
    "btcv": (BTCV, ["img0001", "img0002", "img0003"], ["img0061"]),
    "lits": (LiTS, ["volume-0", "volume-2", "volume-10"], ["test-volume-0"]),
    "acdc": (
        ACDC,
        [f"patient{patient}_frame{frame}" for patient in ("001", "002") for frame in ("01", "12")],
        ["patient101_frame01", "patient101_frame12"],
    ),
    "msd": (VolumeSegmentation, ["spleen_10", "spleen_12", "spleen_2"], ["spleen_1"]),
    "nnunet": (VolumeSegmentation, ["a", "b", "c"], []),
}


def first_of(data: VolumeSegmentation | LIDCSegmentation) -> tuple[Sample, list[str]]:
    """The first case of a data set, and the names of all."""
    cases = [data.get_data_info(index) for index in range(len(data))]
    return data.read(cases[0]), [case["name"] for case in cases]


@pytest.mark.parametrize("name", CASES)
def test_a_release_becomes_a_data_set(name: str, tmp_path: Path):
    MAKE[name](tmp_path / "src")
    report = prepare(name, tmp_path / "src", tmp_path / "dst", workers=1)
    kind, labelled, test = CASES[name]
    assert report.problems == [] and [outcome.name for outcome in report.outcomes] == [*labelled, *test]
    assert list_cases(tmp_path / "dst/prepared/cases") == sorted(labelled)

    whole, names = first_of(kind(tmp_path / "dst", split="trainval", whole_scans=True))
    lazy, cached = first_of(kind(tmp_path / "dst", split="trainval", prepared="prepared"))
    assert names == labelled == cached
    # These scans are in canonical orientation and all body: the preparation has nothing to change.
    assert lazy.image.same_grid(whole.image)
    np.testing.assert_array_equal(np.asarray(lazy.image.array), whole.image.array)
    np.testing.assert_array_equal(np.asarray(lazy.label_map.array), whole.reference.array)
    if test:
        first, names = first_of(kind(tmp_path / "dst", split="test", whole_scans=True))
        assert names == test
        assert (first.reference is not None) == (name == "acdc")


def test_files_keep_their_bytes_and_take_no_room_twice(tmp_path: Path):
    lits(tmp_path / "src")
    prepare("lits", tmp_path / "src", tmp_path / "dst", workers=1, cache=False)
    assert (tmp_path / "dst/imagesTr/volume-0.nii").samefile(tmp_path / "src/Training Batch 1/volume-0.nii")
    assert (tmp_path / "dst/labelsTr/volume-10.nii").samefile(tmp_path / "src/Training Batch 2/segmentation-10.nii")
    assert not (tmp_path / "dst/prepared").exists()


def test_where_there_are_no_links_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_links(*_):
        raise OSError("the file system has none")

    monkeypatch.setattr("os.link", no_links)
    btcv(tmp_path / "src")
    prepare("btcv", tmp_path / "src", tmp_path / "dst", workers=1, cache=False)
    source, copy = tmp_path / "src/RawData/Training/img/img0001.nii.gz", tmp_path / "dst/imagesTr/img0001.nii.gz"
    assert copy.read_bytes() == source.read_bytes() and not copy.samefile(source)


def test_lidc_crops_are_checked_where_they_are(tmp_path: Path):
    lidc(tmp_path)
    (tmp_path / "nodule/lidc1_2.npz").unlink()
    before = sorted(tmp_path.rglob("*"))
    report = prepare("lidc", tmp_path, tmp_path, workers=1)
    assert [problem["case"] for problem in report.problems] == ["lidc1_2"]
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "problems.json"])


def test_lidc_crops_move_with_their_tables(tmp_path: Path):
    lidc(tmp_path / "src")
    np.savez(tmp_path / "src/nodule/lidc1_1.npz", voxel=np.arange(8).reshape(2, 2, 2))  # no answer1
    np.savez(tmp_path / "src/nodule/lidc1_2.npz", voxel=np.arange(8).reshape(2, 2, 2), answer1=np.ones((2, 2, 3), bool))
    report = prepare("lidc", tmp_path / "src", tmp_path / "dst", workers=1)
    findings = {problem["case"]: problem["finding"] for problem in report.problems}
    assert findings.keys() == {"lidc1_1", "lidc1_2"}
    assert "answer1" in findings["lidc1_1"] and "its grid" in findings["lidc1_2"]
    assert first_of(LIDCSegmentation(tmp_path / "dst", split="test"))[1] == ["lidc2_1"]


@pytest.mark.parametrize("name", ["lits", "msd"])
def test_archives_are_unpacked_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """LiTS comes in several zip files, an MSD task in one tar."""
    MAKE[name](tmp_path / "made")
    archives = tmp_path / "archives"
    archives.mkdir()
    for folder in (tmp_path / "made").iterdir():
        archive = archives / f"{folder.name}.{'tar' if name == 'msd' else 'zip'}"
        if name == "msd":
            with tarfile.open(archive, "w") as file:
                file.add(folder, folder.name)
        else:
            with zipfile.ZipFile(archive, "w") as file:
                for path in folder.iterdir():
                    file.write(path, path.name)
    src = archive if name == "msd" else archives
    assert prepare(name, src, tmp_path / "dst", workers=1).problems == []
    assert list_cases(tmp_path / "dst/prepared/cases") == sorted(CASES[name][1])
    monkeypatch.setattr("medseg.datasets.prepare.find.extract", None)
    assert not any(outcome.new for outcome in prepare(name, src, tmp_path / "dst", workers=1).outcomes)


def test_a_damaged_archive_is_named(tmp_path: Path):
    (tmp_path / "RawData.zip").write_bytes(b"PK but no more")
    with pytest.raises(ScanError, match=r"RawData.zip: cannot be unpacked"):
        prepare("btcv", tmp_path / "RawData.zip", tmp_path / "dst")


def _btcv_wrong(root: Path, what: str) -> str:
    """Make case img0002 wrong in one way; the answer is what the message says."""
    image = root / "RawData/Training/img/img0002.nii.gz"
    label = root / "RawData/Training/label/label0002.nii.gz"
    if what == "label missing":
        label.unlink()
        return r"label0002.nii.gz: is missing, a file of case 'img0002'; put it there"
    if what == "image missing":
        image.unlink()
        return r"img0002.nii.gz: is missing, a file of case 'img0002'"
    if what == "shape":
        labels(label, 1, shape=(8, 10, 11))
        return r"label0002.nii.gz: its grid, \(8, 10, 11\) voxels .* is not that of .*img0002.nii.gz, \(8, 10, 12\)"
    if what == "affine":
        labels(label, 1, affine=affine_from_spacing((3.0, 1.0, 1.5)))
        return r"label0002.nii.gz: has the shape of .*img0002.nii.gz, but lies elsewhere: .*\(3.0, 1.0, 1.5\) mm"
    if what == "unknown label":
        labels(label, 1, 14, 99, 255)  # 255 is no class, but known: nobody knows
        return r"label0002.nii.gz: holds the labels \[14, 99\], but there are 14 classes"
    if what == "no whole labels":
        soft_labels(label)
        return r"label0002.nii.gz: 960 of 960 voxels are no whole numbers"  # 8 x 10 x 12
    if what == "truncated image":
        halve(image)
        return r"img0002.nii.gz: is truncated"
    if what == "truncated label":
        halve(label)
        return r"label0002.nii.gz: is truncated"
    assert what == "empty image"
    write_nifti(Volume(np.full((1, *SHAPE), -1024, np.float32), AFFINE), image)
    return r"img0002.nii.gz: is empty: every voxel of channel 'CT' is -1024"


WRONG = (
    *("label missing", "image missing", "shape", "affine", "unknown label", "no whole labels"),
    *("truncated image", "truncated label", "empty image"),
)


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_case_is_named_and_the_rest_is_prepared(what: str, tmp_path: Path, capsys):
    btcv(tmp_path / "src")
    message = _btcv_wrong(tmp_path / "src", what)
    with pytest.raises(SystemExit) as left:
        main(["prepare", "btcv", str(tmp_path / "src"), str(tmp_path / "dst"), "--workers", "1"])
    assert left.value.code == 1
    said = capsys.readouterr().out
    assert "3 of 4 cases are good" in said
    assert re.search(message, said.splitlines()[-1])
    (problem,) = json.loads((tmp_path / "dst/problems.json").read_text())
    assert problem["case"] == "img0002" and problem.keys() == {"case", "file", "finding", "remedy"}
    assert list_cases(tmp_path / "dst/prepared/cases") == ["img0001", "img0003"]
    assert sorted(path.name for path in (tmp_path / "dst/labelsTr").iterdir()) == ["img0001.nii.gz", "img0003.nii.gz"]
    assert first_of(BTCV(tmp_path / "dst", split="trainval", prepared="prepared"))[1] == ["img0001", "img0003"]
    assert list(json.loads((tmp_path / "dst/prepared/fingerprint.json").read_text())["per_case"]) == [
        "img0001",
        "img0003",
    ]


@pytest.mark.parametrize("name", ["lits", "acdc", "msd", "nnunet"])
def test_a_missing_label_is_named_in_every_layout(name: str, tmp_path: Path):
    MAKE[name](tmp_path / "src")
    _, (first, *others), _ = CASES[name]
    file = {"lits": "segmentation-0.nii", "acdc": f"{first}_gt.nii.gz"}.get(name, f"{first}.nii.gz")
    (label,) = (path for path in (tmp_path / "src").rglob(file) if "imagesTr" not in path.parts)
    label.unlink()
    report = prepare(name, tmp_path / "src", tmp_path / "dst", workers=1)
    assert [(problem["case"], problem["file"]) for problem in report.problems] == [(first, str(label))]
    assert list_cases(tmp_path / "dst/prepared/cases") == sorted(others)
    assert first_of(CASES[name][0](tmp_path / "dst", split="trainval", whole_scans=True))[1] == others


@pytest.mark.parametrize("name", ["msd", "nnunet"])
def test_missing_images_of_a_listed_case_are_named_and_the_rest_is_prepared_in_place(name: str, tmp_path: Path):
    MAKE[name](tmp_path)
    (root,) = tmp_path.iterdir()
    first, *others = CASES[name][1]
    (image, *_) = (root / "imagesTr").glob(f"{first}*_0001.nii.gz" if name == "nnunet" else f"{first}.nii.gz")
    image.unlink()
    report = prepare(name, root, root, workers=1, spacing="median")
    assert [(problem["case"], problem["file"]) for problem in report.problems] == [(first, str(image))]
    assert list_cases(root / "prepared/cases") == sorted(others)
    with pytest.raises(ScanError, match=rf"{image.name}: is missing, a file of case '{first}'"):
        VolumeSegmentation(root, split="trainval", prepared="prepared", whole_scans=True)


def test_an_empty_channel_is_named_with_its_file(tmp_path: Path):
    nnunet(tmp_path / "src")
    file = tmp_path / "src/Dataset001_Two/imagesTr/b_0001.nii.gz"
    write_nifti(Volume(np.zeros((1, *SHAPE), np.float32), AFFINE), file)
    (problem,) = prepare("nnunet", tmp_path / "src", tmp_path / "dst", workers=1, cache=False).problems
    assert problem["file"] == str(file) and problem["finding"] == "is empty: every voxel of channel 'T2' is 0"


def test_positions_of_a_release_do_not_fit_when_a_case_was_left_out(tmp_path: Path):
    msd(tmp_path / "src")
    halve(tmp_path / "src/Task09_Spleen/imagesTr/spleen_10.nii.gz")
    assert len(prepare("msd", tmp_path / "src", tmp_path / "dst", workers=1, cache=False).problems) == 1
    (tmp_path / "positions.json").write_text('{"cases": 3, "train": [0, 1], "val": [2]}')
    with pytest.raises(ValueError, match=r"the 3 cases of the release; .* here lists 2, .*problems.json says"):
        VolumeSegmentation(tmp_path / "dst", split_file=tmp_path / "positions.json")


def test_a_frame_that_info_names_and_that_is_not_there(tmp_path: Path):
    acdc(tmp_path / "src")
    (info,) = (tmp_path / "src").rglob("patient002/Info.cfg")
    info.write_text("ED: 4\nES: 12\n")
    (problem,) = prepare("acdc", tmp_path / "src", tmp_path / "dst", workers=1, cache=False).problems
    assert problem["case"] == "patient002_frame04" and problem["finding"].startswith("is missing")


def test_a_label_map_that_lies_elsewhere_can_be_moved_to_its_image(tmp_path: Path):
    lits(tmp_path / "src")
    label = tmp_path / "src/Training Batch 1/segmentation-0.nii"
    labels(label, 1, 2, affine=affine_from_spacing((1.0, 1.0, 1.0)))
    before = label.read_bytes()
    dst = tmp_path / "dst"
    assert len(prepare("lits", tmp_path / "src", dst, workers=1).problems) == 1
    assert prepare("lits", tmp_path / "src", dst, workers=1, label_geometry="image").problems == []
    moved = read_volume(dst / "labelsTr/volume-0.nii")
    assert moved.same_grid(read_volume(dst / "imagesTr/volume-0.nii"))
    assert moved.array.sum() == 12 * (1 + 2) and label.read_bytes() == before  # a row of each label
    again = prepare("lits", tmp_path / "src", dst, workers=1, label_geometry="image")
    assert not any(outcome.new for outcome in again.outcomes)


@pytest.mark.parametrize("name", SOURCES)
def test_a_wrong_folder_is_told_what_was_looked_for(name: str, tmp_path: Path):
    src = tmp_path / "empty"
    with pytest.raises(ScanError, match="empty: does not exist"):
        prepare(name, src, tmp_path / "dst")
    src.mkdir()
    wanted = SOURCES[name].LOOKED_FOR.split(",")[0]
    with pytest.raises(ScanError, match=f"empty: holds nothing of what '{name}' looks for: {wanted}"):
        prepare(name, src, tmp_path / "dst")
    assert not (tmp_path / "dst").exists()


def test_what_cannot_be_meant_is_refused(tmp_path: Path):
    lits(tmp_path / "src")
    shutil.copytree(tmp_path / "src", tmp_path / "src/again")
    with pytest.raises(ScanError, match=r"again.*is there twice|is there twice.*again"):
        prepare("lits", tmp_path / "src", tmp_path / "dst")
    shutil.rmtree(tmp_path / "src/again")
    with pytest.raises(ScanError, match="lies in"):
        prepare("lits", tmp_path / "src", tmp_path / "src/dst")
    with pytest.raises(ValueError, match="'sliver' is no data set that can be prepared; choose one of btcv"):
        prepare("sliver", tmp_path / "src", tmp_path / "dst")
    with pytest.raises(ValueError, match="three positive numbers"):
        prepare("lits", tmp_path / "src", tmp_path / "dst", spacing=(1.0, 0.0, 1.0))
    msd(tmp_path)
    task = tmp_path / "Task09_Spleen"
    content = json.loads((task / "dataset.json").read_text())
    content["training"][0]["image"] = "../elsewhere.nii.gz"
    (task / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(ScanError, match=r"dataset.json: names .*elsewhere.nii.gz, outside its folder"):
        prepare("msd", task, tmp_path / "dst")


def test_the_commands_of_the_guide_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each as printed, on a tiny release where the guide says the download is."""
    monkeypatch.chdir(tmp_path)
    downloads = tmp_path / "downloads"
    for make, folder in ((btcv, "btcv"), (acdc, "acdc"), (lits, "lits"), (lidc, "lidc")):
        make(downloads / folder)
    msd(downloads)
    nnunet(downloads)
    shutil.copytree(downloads / "Task09_Spleen", "my_task")
    shutil.make_archive("downloads/RawData", "zip", downloads / "btcv")
    shutil.make_archive("downloads/acdc", "zip", downloads / "acdc")
    slices = write_gi_like(downloads / "gi", cases=1, days=1, slices=3, side=10)
    shutil.make_archive("downloads/uw-madison-gi-tract-image-segmentation", "zip", slices)
    shutil.make_archive("downloads/Task09_Spleen", "tar", downloads, "Task09_Spleen")
    guide = (Path(__file__).parents[1] / "docs/segmentation_data.md").read_text(encoding="utf-8")
    commands = [line for block in re.findall(r"```bash\n(.*?)```", guide, re.DOTALL) for line in block.splitlines()]
    assert len(commands) == 8
    for command in commands:
        python, tool, *words = command.split()
        assert (python, tool) == ("python", "tools/dataset/prepare.py")
        main(["prepare", *words, "--workers", "1"])
    prepared = sorted(path.parts[:-1] for path in Path().glob("**/fingerprint.json"))
    folders = ("data/acdc", "data/btcv", "data/gi_tract", "data/lits", "data/msd/Task09_Spleen", "data/two", "my_task")
    assert prepared == [(*folder.split("/"), "prepared") for folder in folders]


def describe(task: Path, **changes: object) -> None:
    """Change entries of a dataset.json; None removes one."""
    content = json.loads((task / "dataset.json").read_text()) | changes
    content = {key: value for key, value in content.items() if value is not None}
    (task / "dataset.json").write_text(json.dumps(content))


def refused(capsys: pytest.CaptureFixture, *words: object) -> str:
    with pytest.raises(SystemExit) as left:
        main(["prepare", *map(str, words), "--workers", "1"])
    assert left.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("announced", [None, 3])
@pytest.mark.parametrize("ending", [".nii", ".NII.GZ"])
def test_files_of_another_ending_are_not_passed_over(ending: str, announced: int | None, tmp_path: Path, capsys):
    nnunet(tmp_path)
    (task,) = tmp_path.iterdir()
    for path in list(task.glob("*Tr/*.nii.gz")):
        path.rename(path.with_name(path.name.replace(".nii.gz", ending)))
    describe(task, numTraining=announced)
    said = refused(capsys, "nnunet", task, tmp_path / "dst")
    assert ending in said and ".nii.gz" in said and not (tmp_path / "dst").exists()


def test_what_has_no_case_is_not_prepared(tmp_path: Path, capsys):
    nnunet(tmp_path)
    (task,) = tmp_path.iterdir()
    shutil.rmtree(task / "imagesTr")
    shutil.rmtree(task / "labelsTr")
    describe(task, numTraining=None)
    assert str(task) in refused(capsys, "nnunet", task, tmp_path / "dst")
    describe(task, numTraining=3)
    said = refused(capsys, "folder", task, task)
    assert "dataset.json" in said and "3 training cases" in said
    msd(tmp_path / "msd")
    task = tmp_path / "msd/Task09_Spleen"
    describe(task, training=[], test=[])
    assert str(task) in refused(capsys, "msd", task, tmp_path / "dst")
    assert not (tmp_path / "dst").exists()


def test_cases_that_nnunet_lists_are_those_of_the_list(tmp_path: Path):
    nnunet(tmp_path)
    (task,) = tmp_path.iterdir()
    content = json.loads((task / "dataset.json").read_text())
    channels = len(content["channel_names"])
    (task / "scans").mkdir()
    listed = {}
    for name in ("a", "b"):
        images = [f"scans/{name}_{channel}.nii.gz" for channel in range(channels)]
        for channel, image in enumerate(images):
            (task / f"imagesTr/{name}_{channel:04d}.nii.gz").rename(task / image)
        listed[f"case_{name}"] = {"images": images, "label": f"labelsTr/{name}.nii.gz"}
    describe(task, dataset=listed, numTraining=2)
    halve(task / "scans/b_0.nii.gz")
    report = prepare("nnunet", task, tmp_path / "dst", workers=1)
    assert [outcome.name for outcome in report.outcomes] == ["case_a", "case_b"]
    assert [problem["case"] for problem in report.problems] == ["case_b"]
    assert list_cases(tmp_path / "dst/prepared/cases") == ["case_a"]
    whole, names = first_of(VolumeSegmentation(tmp_path / "dst", split="trainval", whole_scans=True))
    assert names == ["case_a"] and whole.image.channels == channels
    describe(task, numTraining=3)
    with pytest.raises(ScanError, match=r"dataset.json: announces 3 training cases, and 2 are found"):
        prepare("nnunet", task, tmp_path / "dst", workers=1)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), ("{}".encode("utf-16"), "UTF-16"), (b"{,}", "not json"), (b"\xff{}", "UTF-8")],
)
def test_a_description_that_cannot_be_read_is_named(content: bytes, words: str, tmp_path: Path, capsys):
    (tmp_path / "dataset.json").write_bytes(content)
    said = refused(capsys, "folder", tmp_path, tmp_path)
    assert f"{tmp_path / 'dataset.json'}: is" in said and words in said


def test_a_description_may_begin_with_a_byte_order_mark_and_end_lines_as_windows_does(tmp_path: Path):
    msd(tmp_path)
    path = tmp_path / "Task09_Spleen/dataset.json"
    path.write_bytes(
        b"\xef\xbb\xbf" + json.dumps(json.loads(path.read_text()), indent=1).replace("\n", "\r\n").encode()
    )
    assert len(prepare("msd", path.parent, path.parent, workers=1, cache=False).outcomes) == 4


def test_a_folder_without_a_description_is_told_so_wherever_it_is_to_go(tmp_path: Path, capsys):
    scan(tmp_path / "raw/a.nii.gz")
    said = refused(capsys, "folder", tmp_path / "raw", tmp_path / "raw/out")
    assert "dataset.json" in said and "lies in" not in said


def test_a_full_disk_ends_in_one_line_and_another_try_goes_on(tmp_path: Path, capsys, monkeypatch):
    msd(tmp_path)

    def full(*_, **__) -> None:  # as blosc2 does, without a reason
        raise RuntimeError("Error while creating the NDArray")

    words = ("msd", tmp_path / "Task09_Spleen", tmp_path / "dst")
    monkeypatch.setattr("vdt3d.io.cache.blosc2.asarray", full)
    said = refused(capsys, *words)
    assert "spleen_10.b2nd" in said and "disk" in said and len(said.splitlines()) == 1
    assert list_cases(tmp_path / "dst/prepared/cases") == []
    monkeypatch.undo()
    main(["prepare", *map(str, words), "--workers", "1"])
    assert len(list_cases(tmp_path / "dst/prepared/cases")) == 3


def test_files_of_other_origin_stay(tmp_path: Path, capsys):
    lits(tmp_path / "src")
    msd(tmp_path)
    task = tmp_path / "Task09_Spleen"
    # A folder of another data set, one of anything else, and foreign files in the places of ours.
    said = refused(capsys, "lits", tmp_path / "src", task)
    assert str(task) in said
    notes = tmp_path / "notes"
    (notes / "imagesTr").mkdir(parents=True)
    assert str(notes / "imagesTr") in refused(capsys, "lits", tmp_path / "src", notes)
    (notes / "imagesTr").rmdir()
    (notes / "problems.json").write_text('["mine"]')
    assert "problems.json" in refused(capsys, "lits", tmp_path / "src", notes)
    (task / "prepared").mkdir()
    (task / "prepared/mine.txt").touch()
    assert str(task / "prepared") in refused(capsys, "msd", task, task)
    assert (notes / "problems.json").read_text() == '["mine"]' and len(list(notes.iterdir())) == 1


def test_links_without_targets_are_named(tmp_path: Path):
    lits(tmp_path / "src")
    for kind in ("volume", "segmentation"):
        (tmp_path / f"src/{kind}-5.nii").symlink_to(tmp_path / f"annex/{kind}-5.nii")
    report = prepare("lits", tmp_path / "src", tmp_path / "dst", workers=1, cache=False)
    assert [problem["case"] for problem in report.problems] == ["volume-5"]
