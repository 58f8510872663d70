"""Segmentation data sets: both layouts found, labels held against their scans, patients kept in one part."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vdt3d
from medseg.datasets import ACDC, BTCV, MSD, LIDCSegmentation, LiTS, PhantomOrgans, VolumeSegmentation, read_layout
from medseg.datasets.base import located, palette
from medseg.datasets.msd import TASKS
from medseg.datasets.splits import assign_parts
from vdt3d.io import ScanError, read_record, write_case, write_nifti
from vdt3d.structures import LabelMap, Sample, Volume, affine_from_spacing
from vdt3d.transforms import undo

SPLITS = Path(__file__).parents[1] / "data/splits"
AFFINE = affine_from_spacing((2.0, 1.0, 1.0))
SHAPE = (4, 5, 6)


@pytest.fixture(autouse=True)
def no_garbage(monkeypatch):
    """mmengine collects garbage for every data set it makes: half a second each, in a process that holds torch."""
    monkeypatch.setattr("mmengine.dataset.base_dataset.gc.collect", lambda: 0)


def write_image(path, value, shape=SHAPE, affine=AFFINE, channels=1):
    write_nifti(Volume(np.full((channels, *shape), value, np.float32), affine), path)


def write_labels(path, highest, shape=SHAPE, affine=AFFINE):
    labels = np.zeros((1, *shape), np.uint8)
    labels[0, -1, -1, -1] = highest  # a lesion of one voxel, in the last slice
    write_nifti(LabelMap(labels, affine), path)


def write_json(path, content):
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def msd(tmp_path):
    """Six cases of two classes, two of each patient, listed in reverse; case n holds the value n; one test image."""
    names = [f"p{number // 2}_{number}" for number in reversed(range(6))]
    for name in names:
        write_image(tmp_path / f"imagesTr/{name}.nii.gz", int(name[-1]))
        write_labels(tmp_path / f"labelsTr/{name}.nii.gz", 1)
    write_image(tmp_path / "imagesTs/unknown.nii.gz", 9)
    content = {
        "name": "Tiny",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "lesion"},
        "training": [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names],
        "test": ["./imagesTs/unknown.nii.gz"],
    }
    write_json(tmp_path / "dataset.json", content)
    return tmp_path


@pytest.fixture
def nnunet(tmp_path):
    """Two cases of two channels; the tumour's core lies within the tumour."""
    for name in ("b_1", "a_1"):
        for channel in (0, 1):
            write_image(tmp_path / f"imagesTr/{name}_000{channel}.nii.gz", 10 + channel)
        write_labels(tmp_path / f"labelsTr/{name}.nii.gz", 2)
    content = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "tumour": [1, 2], "core": [2]},
        "regions_class_order": [1, 2],
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    write_json(tmp_path / "dataset.json", content)
    return tmp_path


def names(cases):
    return [cases.get_data_info(index)["name"] for index in range(len(cases))]


def test_the_files_that_macos_leaves_beside_scans_are_no_cases(nnunet):
    before = names(VolumeSegmentation(nnunet, split="all"))
    for path in [*nnunet.glob("imagesTr/*"), *nnunet.glob("labelsTr/*")]:
        path.with_name(f"._{path.name}").write_bytes(bytes.fromhex("00051607"))
    assert names(VolumeSegmentation(nnunet, split="all")) == before


def test_msds_layout_is_read_in_its_order(msd):
    cases = VolumeSegmentation(msd, split="all")
    assert names(cases) == ["p2_5", "p2_4", "p1_3", "p1_2", "p0_1", "p0_0"]
    meta = cases.metainfo
    assert (meta["classes"], meta["modality"], meta["regions"]) == (("background", "lesion"), ("CT",), {})
    assert len(meta["palette"]) == 2
    sample = cases[1]
    assert (sample.name, sample.image.spacing, sample.reference) == ("p2_4", (2.0, 1.0, 1.0), None)
    assert (sample.image.array == np.full((1, *SHAPE), 4)).all()
    assert np.argwhere(sample.label_map.array).tolist() == [[0, 3, 4, 5]]


def test_nnunets_layout_stacks_channels_and_knows_regions(nnunet):
    cases = VolumeSegmentation(nnunet, split="all")
    assert names(cases) == ["a_1", "b_1"]
    assert cases.metainfo["classes"] == ("background", "label 1", "core")  # no name says what 1 alone is
    assert cases.metainfo["regions"] == {"tumour": (1, 2), "core": (2,)}
    assert cases.metainfo["modality"] == ("T1", "T2")
    image = cases[0].image.array
    assert image.shape == (2, *SHAPE) and [float(channel.mean()) for channel in image] == [10, 11]


def test_channels_within_one_file_are_declared_by_the_layout(tmp_path):
    write_image(tmp_path / "images/a.nii.gz", 3, channels=2)
    write_labels(tmp_path / "labels/a.nii.gz", 1)
    training = [{"image": "images/a.nii.gz", "label": "labels/a.nii.gz"}]
    content = {"modality": {"1": "ADC", "0": "T2"}, "labels": {"0": "background", "1": "zone"}, "training": training}
    write_json(tmp_path / "dataset.json", content)
    cases = VolumeSegmentation(tmp_path, split="all")
    assert cases[0].image.channels == 2 and cases.metainfo["modality"] == ("T2", "ADC")


def test_a_whole_scan_keeps_its_truth_as_reference(msd):
    sample = VolumeSegmentation(msd, split="all", whole_scans=True)[0]
    assert sample.label_map is None and sample.reference.array.sum() == 1
    unknown = VolumeSegmentation(msd, split="test", whole_scans=True)[0]
    assert (unknown.name, unknown.reference, unknown.label_map) == ("unknown", None, None)


def prepare(root, image, labels, modality="CT", pipeline=()):
    """What tools/dataset/prepare.py leaves of every case: the same image and labels for all."""
    for case in read_layout(root).labelled:
        write_case(root / "prepared/cases", case.name, Sample(Volume(image), LabelMap(labels)), extra={})
    channel = {"modality": modality, "percentile_00_5": -100, "percentile_99_5": 200, "mean": 40.0, "std": 50.0}
    write_json(root / "prepared/fingerprint.json", {"intensity": [channel], "pipeline": list(pipeline)})


def test_prepared_cases_are_read_from_the_cache(msd):
    labels = np.zeros((1, 3, 3, 3), np.uint8)
    labels[0, 2, 2, 2] = 1
    prepare(msd, np.full((1, 3, 3, 3), 7), labels)
    cases = VolumeSegmentation(msd, split="all", prepared="prepared", group=r"(p\d)_")
    sample = cases[0]
    assert (sample.name, sample.group, sample.image.shape) == ("p2_5", "p2", (3, 3, 3))
    assert not isinstance(sample.image.array, np.ndarray)  # still in its file
    assert sample.foreground[1].tolist() == [[2, 2, 2]]
    assert (sample.statistics["mean"], sample.statistics["set_mean"]) == ((7.0,), (40.0,))  # the case's, the data set's
    (msd / "prepared/cases/p1_2.json").unlink()
    with pytest.raises(ScanError, match=r"p1_2.json: is missing, a file of case 'p1_2'; prepare it"):
        VolumeSegmentation(msd, split="all", prepared="prepared")


def test_a_patch_larger_than_a_prepared_case_holds_its_one_labelled_voxel(msd):
    labels = np.zeros((1, 3, 9, 9), np.uint8)
    labels[0, 2, 8, 8] = 1  # in the last slice, in its corner
    prepare(msd, labels + 40.0, labels)
    patch = dict(type="RandomPatch3D", size=(6, 4, 4), foreground=1.0)
    cases = VolumeSegmentation(msd, split="all", prepared="prepared", pipeline=[patch, dict(type="PackSegmentation")])
    for index in range(len(cases)):
        data = cases[index]
        image, labels = data["inputs"][0], data["data_samples"].gt_labels
        assert image.shape == labels.shape == (6, 4, 4) and labels.sum() == 1
        assert image[labels == 1].tolist() == [41] and image.min() == 40  # surrounded by the least value


def test_a_whole_scan_goes_the_way_of_the_preparation_and_back(msd):
    crop = {"type": "CenterCrop3D", "size": [2, 3, 4]}
    prepare(msd, np.ones((1, 2, 3, 4)), np.zeros((1, 2, 3, 4), np.uint8), pipeline=[crop])
    sample = VolumeSegmentation(msd, split="all", prepared="prepared", whole_scans=True)[0]
    assert (sample.image.array == np.full((1, 2, 3, 4), 5)).all()  # of the scan itself, whose value is 5
    assert sample.label_map is None
    assert sample.reference.shape == SHAPE and sample.reference.array[0, 3, 4, 5] == 1  # not cropped
    assert undo(sample.image, sample).same_grid(sample.reference)
    assert sample.statistics["set_std"] == (50.0,)


def test_a_data_set_without_units_has_no_numbers_of_its_own(msd):
    prepare(msd, np.ones((1, 2, 2, 2)), np.zeros((1, 2, 2, 2), np.uint8), modality="MRI")
    assert np.isnan(VolumeSegmentation(msd, split="all", prepared="prepared")[0].statistics["set_mean"])


@pytest.mark.parametrize("content", [None, "[", "{}", '{"intensity": []}', '{"intensity": [{}], "pipeline": []}'])
def test_a_folder_that_was_not_prepared_is_refused(msd, content):
    prepare(msd, np.ones((1, 2, 2, 2)), np.zeros((1, 2, 2, 2), np.uint8))
    path = msd / "prepared/fingerprint.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(ScanError, match=r"fingerprint.json: is not the fingerprint of a prepared data set"):
        VolumeSegmentation(msd, split="all", prepared="prepared", whole_scans=True)


def test_a_prepared_label_that_is_no_class_is_refused(msd):
    labels = np.full((1, 2, 2, 2), 2, np.uint8)
    prepare(msd, labels, labels)
    with pytest.raises(ScanError, match=r"p2_5.json: holds the label 2, but there are 2 classes"):
        VolumeSegmentation(msd, split="all", prepared="prepared")[0]


def test_a_label_beyond_the_classes_is_refused_and_255_is_not(msd):
    path = msd / "labelsTr/p2_5.nii.gz"
    write_labels(path, 2)
    with pytest.raises(ScanError, match=r"labelsTr/p2_5.nii.gz: holds the label 2, .*\('background', 'lesion'\)"):
        VolumeSegmentation(msd, split="all")[0]
    write_labels(path, 255)
    assert VolumeSegmentation(msd, split="all")[0].label_map.array.max() == 255


@pytest.mark.parametrize(
    "grid",
    [{"shape": (4, 5, 7)}, {"affine": affine_from_spacing((2.0, 1.0, 1.1))}, {"affine": AFFINE + np.eye(4, k=3)}],
)
def test_a_label_map_on_another_grid_names_both_files(msd, grid):
    write_labels(msd / "labelsTr/p2_5.nii.gz", 1, **grid)
    with pytest.raises(ScanError, match=r"labelsTr/p2_5.nii.gz: its grid, .*, is not that of .*imagesTr/p2_5.nii.gz"):
        VolumeSegmentation(msd, split="all")[0]


def test_channels_on_other_grids_name_both_files(nnunet):
    write_image(nnunet / "imagesTr/a_1_0001.nii.gz", 11, shape=(4, 5, 7))
    with pytest.raises(ScanError, match=r"a_1_0001.nii.gz: its grid, .* is not that of .*a_1_0000.nii.gz"):
        VolumeSegmentation(nnunet, split="all")[0]


def test_labels_that_are_no_integers_are_refused(msd):
    write_image(msd / "labelsTr/p2_5.nii.gz", 0.5)
    with pytest.raises(ScanError, match=r"labelsTr/p2_5.nii.gz: .* no whole numbers"):
        VolumeSegmentation(msd, split="all")[0]


@pytest.mark.parametrize("file", ["imagesTr/p0_1.nii.gz", "labelsTr/p0_1.nii.gz"])
def test_a_missing_file_is_found_at_the_door(msd, file):
    (msd / file).unlink()
    with pytest.raises(ScanError, match=rf"{file}: is missing, a file of case 'p0_1'"):
        VolumeSegmentation(msd, split="all")


@pytest.mark.parametrize("lost", ["labelsTr/a_1.nii.gz", "imagesTr/a_1_0000.nii.gz", "imagesTr/a_1_0001.nii.gz"])
def test_nnunets_images_and_labels_must_pair(nnunet, lost):
    (nnunet / lost).unlink()
    assert [case.name for case in read_layout(nnunet).labelled] == ["a_1", "b_1"]
    with pytest.raises(ScanError, match=rf"{lost}: is missing, a file of case 'a_1'; put it there, or take it out"):
        VolumeSegmentation(nnunet, split="all")


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (None, r"dataset.json: is missing; name the folder"),
        ("[", r"dataset.json: is not json"),
        ({}, r"is of neither layout; MSD's has 'modality' and 'training', nnU-Net's"),
        ([], r"is of neither layout"),
        (
            {"modality": {"0": "CT"}, "labels": {"0": "background", "2": "x"}, "training": []},
            r"has the labels \[0, 2\]",
        ),
        ({"modality": {"0": "CT"}, "labels": ["background"], "training": []}, r"is not as its layout wants it"),
        ({"modality": {"0": "CT"}, "labels": {"0": "b"}, "training": [{"label": "a"}]}, r"KeyError: 'image'"),
        (
            {"modality": {"0": "CT"}, "labels": {"0": "b"}, "training": [{"image": "a"}, {"image": "x/a"}]},
            r"lists the case 'a' more than once",
        ),
        ({"channel_names": {"0": "CT"}, "labels": {"b": 0, "ignore": 1}, "file_ending": ".nii.gz"}, r"ignore label, 1"),
    ],
)
def test_a_folder_of_another_layout_is_refused(tmp_path, change, finding):
    if change is not None:
        (tmp_path / "dataset.json").write_text(change if isinstance(change, str) else json.dumps(change))
    with pytest.raises(ScanError, match=finding):
        read_layout(tmp_path)


def test_an_empty_folder_is_refused(tmp_path):
    write_json(tmp_path / "dataset.json", {"channel_names": {"0": "CT"}, "labels": {"b": 0}, "file_ending": ".nii.gz"})
    with pytest.raises(ValueError, match="VolumeSegmentation finds no case for split='train'"):
        VolumeSegmentation(tmp_path)
    with pytest.raises(ValueError, match="there is no folder"):
        VolumeSegmentation(tmp_path / "gone")


def test_folds_hold_out_every_patient_once(msd):
    def patients(split, fold):
        return {case[:2] for case in names(VolumeSegmentation(msd, split=split, fold=fold, folds=3, group=r"(p\d)_"))}

    held_out = [patients("val", fold) for fold in range(3)]
    assert sorted(map(len, held_out)) == [1, 1, 1] and set.union(*held_out) == {"p0", "p1", "p2"}
    assert all(patients("train", fold) == {"p0", "p1", "p2"} - held_out[fold] for fold in range(3))
    assert len(VolumeSegmentation(msd, split="trainval", folds=3)) == 6


def test_a_split_file_names_cases_or_patients(msd):
    write_json(msd / "names.json", {"note": "ours", "train": ["p0_0"], "val": ["p2"], "test": ["p1_3"]})
    options = {"split_file": "names.json", "group": r"(p\d)_"}
    parts = [names(VolumeSegmentation(msd, split=split, **options)) for split in ("train", "val", "test", "all")]
    assert parts == [["p0_0"], ["p2_5", "p2_4"], ["p1_3"], ["p2_5", "p2_4", "p1_3", "p0_0"]]


def test_a_split_file_numbers_cases_as_the_layout_lists_them(msd, tmp_path_factory):
    split = {"cases": 6, "train": [5], "val": [0, 1], "test": [2]}  # of 5, 4, 3, 2, 1, 0
    file = write_json(tmp_path_factory.mktemp("splits") / "positions.json", split)
    parts = [names(VolumeSegmentation(msd, split_file=file, split=split)) for split in ("train", "val", "test")]
    assert parts == [["p0_0"], ["p2_5", "p2_4"], ["p1_3"]]


def test_a_split_file_is_looked_for_in_the_data_set_then_here_then_in_the_package(msd, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    name, found = "data/splits/msd02_transseg.json", []
    found.append(located(name, msd))
    for folder in (Path(), msd):
        Path(folder, "data/splits").mkdir(parents=True)
        write_json(folder / name, {})
        found.append(located(name, msd))
    assert found == [SPLITS / "msd02_transseg.json", Path(name), msd / name]
    assert located(msd / name, "anywhere") == msd / name


def test_an_installed_package_brings_configs_and_case_lists(tmp_path, monkeypatch):
    """The wheel's content, as the build lays it out."""
    monkeypatch.chdir(tmp_path)
    build = ["setup.py", "-q", "build_py", "--build-lib", str(tmp_path / "lib")]
    done = subprocess.run([sys.executable, *build], cwd=SPLITS.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    root, brought = SPLITS.parents[1], tmp_path / "lib/vdt3d/.mim"
    for folder, pattern, least in (("configs", "*.py", 50), ("configs", "*.yml", 2), ("data/splits", "*.json", 14)):
        ours, theirs = ({str(path.relative_to(r)) for path in (r / folder).rglob(pattern)} for r in (root, brought))
        assert theirs == ours and len(ours) >= least
    monkeypatch.setattr(vdt3d, "__file__", str(tmp_path / "lib/vdt3d/__init__.py"))
    assert located("data/splits/lits.json", "gone") == brought / "data/splits/lits.json"


def test_nnunets_folds_are_taken_from_their_list(msd):
    write_json(msd / "splits_final.json", [{"train": ["p0_0"], "val": ["p0_1"]}, {"train": ["p1_2"], "val": ["p1_3"]}])
    assert names(VolumeSegmentation(msd, split="val", split_file="splits_final.json", fold=1)) == ["p1_3"]
    assert names(VolumeSegmentation(msd, split="test", split_file="splits_final.json")) == ["unknown"]
    with pytest.raises(ValueError, match="has the folds 0 to 1, not 2"):
        VolumeSegmentation(msd, split_file="splits_final.json", fold=2)


def test_a_published_list_without_validation_cases_holds_patients_out_of_its_training_cases():
    cases = [f"p{number // 2}_{number}" for number in range(12)]
    groups = [case.partition("_")[0] for case in cases]
    file = SPLITS / "btcv_unetr.json"
    ids = [*json.loads(file.read_text())["train"], *json.loads(file.read_text())["test"]]
    parts = assign_parts(ids, ids, split_file=file)
    assert parts.value_counts().to_dict() == {"train": 19, "val": 5, "test": 6}  # 24 in hands of 5, 5, 5, 5 and 4
    free = assign_parts(cases, groups, fold=1, folds=3)
    assert free.value_counts().to_dict() == {"train": 8, "val": 4}
    assert all(free[f"p{n}_{2 * n}"] == free[f"p{n}_{2 * n + 1}"] for n in range(6))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"train": ["p0_0", "p9"]}, r"'p9' in 'train' is no case of the data set, such as 'p2_5'"),
        ({"train": ["p0_0"], "test": ["p0_0"]}, r"'p0' is in 'train' and 'test'"),
        ({"train": ["p0_0"], "test": ["p0_1"]}, r"'p0' is in 'train' and 'test'; a patient belongs to one"),
        (
            {"cases": 7, "train": [0]},
            r"positions in the 7 cases of the release; .* here lists 6, .* prepare again",
        ),
        ({"train": [6]}, r"'6' in 'train' is no case"),
        ({"val": []}, r"holds no lists"),
        ({"train": "p0_0"}, r"holds no lists"),
        ("p0_0", r"is not json"),
    ],
)
def test_a_split_that_does_not_fit_is_refused(msd, content, message):
    (msd / "split.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=message):
        VolumeSegmentation(msd, split_file="split.json", group=r"(p\d)_")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "dev"}, "the split is one of train, val, test, trainval, all"),
        ({"fold": 5}, "the fold from 0 to 4"),
        ({"split_file": "gone.json"}, "there is no split file gone.json: not in data_root, in"),
        ({"group": r"(q\d)"}, r"finds no patient in the case name 'p2_5'"),
    ],
)
def test_unknown_choices_are_refused(msd, options, message):
    with pytest.raises(ValueError, match=message):
        VolumeSegmentation(msd, **options)


def test_there_is_no_target_to_balance(msd):
    with pytest.raises(ValueError, match="a label for each voxel"):
        VolumeSegmentation(msd).targets()


# --- the published sets


def counts(name):
    content = json.loads((SPLITS / name).read_text())
    lists = [content.get(part, []) for part in ("train", "val", "test")]
    listed = [entry for part in lists for entry in part]
    assert len(set(listed)) == len(listed), f"{name} lists a case twice"
    return tuple(map(len, lists)), set(listed)


def test_published_splits_have_the_published_sizes():
    abdomens = {f"img{number:04d}" for number in (*range(1, 11), *range(21, 41))}
    assert counts("btcv_unetr.json") == ((24, 0, 6), abdomens)
    assert counts("btcv_transunet.json") == ((18, 0, 12), abdomens)
    assert counts("lits.json") == ((105, 13, 13), {f"volume-{number}" for number in range(131)})
    assert counts("acdc.json") == ((70, 10, 20), {f"patient{number:03d}" for number in range(1, 101)})


@pytest.mark.parametrize(
    ("task", "sizes"),  # TransSeg's: 80 % rounded down, up to 95 % rounded down, the rest
    [
        *((1, (387, 72, 25)), (2, (16, 3, 1)), (3, (104, 20, 7)), (4, (208, 39, 13)), (5, (25, 5, 2))),
        *((6, (50, 9, 4)), (7, (224, 42, 15)), (8, (242, 45, 16)), (9, (32, 6, 3)), (10, (100, 19, 7))),
    ],
)
def test_msd_positions_cover_every_task(task, sizes):
    assert counts(f"msd{task:02d}_transseg.json") == (sizes, set(range(sum(sizes))))
    assert sum(sizes) == TASKS[task].cases


@pytest.mark.parametrize(
    ("data_set", "classes", "case", "group", "split_file"),
    [
        (BTCV, 14, "img0001", "img0001", "btcv_unetr.json"),
        (LiTS, 3, "volume-0", "volume-0", "lits.json"),
        (ACDC, 4, "patient001_frame12", "patient001", "acdc.json"),
    ],
)
def test_published_sets_fit_their_split_files(tmp_path, data_set, classes, case, group, split_file):
    content = json.loads((SPLITS / split_file).read_text())
    cases = [name for part in ("train", "val", "test") for name in content.get(part, [])]
    found = [f"{name}_frame12" if name.startswith("patient") else name for name in cases]
    for name in found:  # never opened
        (tmp_path / f"{name}.nii.gz").touch()
    write_json(
        tmp_path / "dataset.json",
        {
            "modality": {"0": "CT"},
            "labels": {str(label): f"class {label}" for label in range(classes)},
            "training": [{"image": f"{name}.nii.gz", "label": f"{name}.nii.gz"} for name in found],
        },
    )
    cases = data_set(tmp_path, split="trainval", split_file=SPLITS / split_file)
    entry = next(info for info in map(cases.get_data_info, range(len(cases))) if info["name"] == case)
    assert entry["group"] == group
    assert len(cases) == len(content["train"]) + len(content.get("val", []))
    assert len(cases.metainfo["classes"]) == len(cases.metainfo["palette"]) == classes
    assert len(data_set(tmp_path, split="test", split_file=SPLITS / split_file)) == len(content["test"])


def test_a_decathlon_task_is_held_against_its_folder(msd):
    lung = MSD(msd, task=6, split="all")
    assert lung.metainfo["classes"] == ("background", "tumour") and lung.metainfo["modality"] == ("CT",)
    with pytest.raises(ScanError, match=r"dataset.json: has 2 classes .*, where 3 \('background', 'liver', 'tumour'\)"):
        MSD(msd, task=3)
    with pytest.raises(ScanError, match=r"names the channels \('CT',\); Prostate has \('T2', 'ADC'\)"):
        MSD(msd, task=5)
    with pytest.raises(ValueError, match="the tasks 1 to 10"):
        MSD(msd, task=11)


def test_the_real_hippocampi_are_task_four(real_data):
    root = real_data / "msd_task04_hippocampus"
    sizes = [len(MSD(root, task=4, split=part, split_file="split.json")) for part in ("train", "val", "test")]
    assert sizes == [150, 30, 40]
    sample = MSD(root, task=4, split="val", split_file="split.json")[0]
    assert set(np.unique(sample.label_map.array)) == {0, 1, 2}


def test_colours_differ():
    assert len(set(palette(256))) == 256
    assert palette(3)[0] == (0, 0, 0)


# --- crops and phantoms

NODULES = "index,uid,malignancy_mode\nlidc1_1,P1,1\nlidc1_2,P1,3\nlidc2_1,P2,5\nlidc3_1,P3,3\nlidc4_1,P4,0\n"
LISTS = "train,test\nlidc1_1.npz,lidc1_2.npz\nlidc2_1.npz,lidc3_1.npz\n,lidc1_2.npz\n"


@pytest.fixture
def lidc(tmp_path):
    (tmp_path / "nodule").mkdir()
    (tmp_path / "nodules.csv").write_text(NODULES)
    (tmp_path / "lists.csv").write_text(LISTS)
    for line in NODULES.splitlines()[1:]:
        voxel, mask = np.full((4, 4, 4), 9, np.uint8), np.zeros((4, 4, 4), bool)
        mask[3, 3, 3] = True
        np.savez(tmp_path / "nodule" / f"{line.partition(',')[0]}.npz", voxel=voxel, answer1=mask, seg=~mask)
    return tmp_path


TABLES = {"nodule_table": "nodules.csv", "split_file": "lists.csv"}


def test_undecided_nodules_are_segmented_too_each_once(lidc):
    assert names(LIDCSegmentation(lidc, split="trainval", **TABLES)) == ["lidc1_1", "lidc2_1"]
    test = LIDCSegmentation(lidc, split="test", **TABLES)
    assert names(test) == ["lidc1_2", "lidc3_1"]  # listed twice, read once; lidc4_1 is in neither list
    assert test.get_data_info(0)["group"] == "P1"
    assert len(LIDCSegmentation(lidc, split="all", by="patient", **TABLES)) == 5
    sample = test[0]
    assert (sample.image.array == np.full((1, 4, 4, 4), 9)).all() and sample.image.spacing == (1.0, 1.0, 1.0)
    assert np.argwhere(sample.label_map.array).tolist() == [[0, 3, 3, 3]]
    assert test.metainfo["classes"] == ("background", "nodule")


def test_other_crops_come_with_a_list_of_their_own(lidc):
    (lidc / "nodule").rename(lidc / "crops")
    write_json(lidc / "split.json", {"train": ["lidc1_1", "lidc2_1"], "val": ["lidc3_1"], "test": ["lidc4_1"]})
    options = {"folder": "crops", "label_key": "seg", "split_file": "split.json", "whole_scans": True}
    assert names(LIDCSegmentation(lidc, split="train", **options)) == ["lidc1_1", "lidc2_1"]
    sample = LIDCSegmentation(lidc, split="test", **options)[0]
    assert sample.label_map is None and sample.reference.array.sum() == 63
    with pytest.raises(ScanError, match=r"lidc1_1.npz: holds the arrays .* not 'answer2'"):
        LIDCSegmentation(lidc, **(options | {"label_key": "answer2"}))[0]


def test_the_published_nodules_have_the_published_numbers(real_data, lidc, monkeypatch):
    tables = real_data.parent / "reference/lidc_idri_split"
    if not tables.is_dir():
        pytest.skip(f"no published tables at {tables}")
    monkeypatch.setattr(LIDCSegmentation, "filter_data", lambda self: self.data_list)  # the crops are not here
    files = {
        "nodule_table": tables / "lidc_nodule_info_new_with_subset.csv",
        "split_file": tables / "train_test_split.csv",
    }
    sizes = [len(LIDCSegmentation(lidc, split=split, **files)) for split in ("trainval", "test", "train", "val")]
    assert sizes[:2] == [2142, 491] and sum(sizes[2:]) == 2142


def test_phantom_organs_make_themselves_in_msds_layout(tmp_path):
    make = {"cases": 3}
    organs = PhantomOrgans(tmp_path / "organs", make=make, split="all")
    assert organs.metainfo["classes"] == ("background", "spine", "liver", "spleen", "right kidney", "left kidney")
    sample = organs[2]
    assert sample.name == "organs_002" and set(np.unique(sample.label_map.array)) == set(range(6))
    assert names(VolumeSegmentation(tmp_path / "organs", split="all")) == names(organs)
    before = (tmp_path / "organs/images/organs_000.nii.gz").stat().st_mtime_ns
    PhantomOrgans(tmp_path / "organs", make=make)
    assert (tmp_path / "organs/images/organs_000.nii.gz").stat().st_mtime_ns == before


def test_a_record_of_a_prepared_case_is_readable(msd):
    sample = VolumeSegmentation(msd, split="all")[0]
    write_case(msd / "prepared/cases", "a", sample, extra={"corner": [0, 0, 0]})
    assert read_record(msd / "prepared/cases", "a")["voxels"] == {"0": 119, "1": 1}  # 4 x 5 x 6 voxels
