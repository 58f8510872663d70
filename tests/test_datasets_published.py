"""LIDC-IDRI and MedMNIST3D: label rule, official splits, patients kept apart, files checked."""

import hashlib
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest

from vdt3d.datasets import LIDCClassification, MedMNIST3D
from vdt3d.datasets import medmnist as medmnist_module

# Every trap: lidc1_2 undecided (3), lidc4_1 rated by nobody (0), lidc8_1 in neither list, lidc3_1 and lidc5_1 of one
# scan number but two patients, lidc2_1 and lidc2_2 of one patient on both sides, and a test list that repeats names.
NODULES = """index,uid,scan,malignancy_mode
lidc1_1,P1,11,1
lidc1_2,P1,11,3
lidc2_1,P2,12,2
lidc2_2,P2,12,4
lidc3_1,P3,13,5
lidc4_1,P4,14,0
lidc5_1,P5,13,4
lidc6_1,P6,16,2
lidc6_2,P6,16,1
lidc7_1,P7,17,5
lidc8_1,P8,18,1
lidc9_1,P9,19,2
"""
LISTS = """,train,test
0,lidc9_1.npz,lidc2_2.npz
1,lidc1_1.npz,lidc7_1.npz
2,lidc1_2.npz,lidc2_2.npz
3,lidc3_1.npz,lidc6_1.npz
4,lidc2_1.npz,lidc7_1.npz
5,lidc5_1.npz,
6,lidc6_2.npz,
"""


@pytest.fixture
def lidc(tmp_path):
    (tmp_path / "nodule").mkdir()
    (tmp_path / "info").mkdir()
    (tmp_path / "info/lidc_nodule_info_new_with_subset.csv").write_text(NODULES)
    (tmp_path / "train_test_split.csv").write_text(LISTS)
    for number, line in enumerate(NODULES.splitlines()[1:]):
        voxels = np.full((4, 4, 4), number, np.uint8)
        np.savez(tmp_path / "nodule" / f"{line.partition(',')[0]}.npz", voxel=voxels, answer1=voxels)
    return tmp_path


def names(cases):
    return [cases.get_data_info(index)["name"] for index in range(len(cases))]


def test_the_published_split_and_label_rule(lidc):
    train = LIDCClassification(lidc, split="trainval")
    assert sorted(names(train)) == ["lidc1_1", "lidc2_1", "lidc3_1", "lidc5_1", "lidc6_2", "lidc9_1"]
    malignant = {name for name, target in zip(names(train), train.targets(), strict=True) if target == 1}
    assert malignant == {"lidc3_1", "lidc5_1"}
    test = LIDCClassification(lidc, split="test")
    assert names(test) == ["lidc2_2", "lidc6_1", "lidc7_1"]  # each once, in the order of the table
    assert test.targets().tolist() == [1, 0, 1]
    assert test.metainfo["classes"] == ("benign", "malignant")


def test_a_crop_is_read_with_its_voxels_as_stored(lidc):
    sample = LIDCClassification(lidc, split="test")[0]
    assert (sample.name, sample.target, sample.image.spacing) == ("lidc2_2", 1, (1.0, 1.0, 1.0))
    assert (sample.image.array == np.full((1, 4, 4, 4), 3)).all()  # the fourth row of the table


def test_validation_patients_are_none_of_the_training_patients(lidc):
    train, val = (set(names(LIDCClassification(lidc, split=split))) for split in ("train", "val"))
    assert train | val == set(names(LIDCClassification(lidc, split="trainval")))
    assert val and not {name[:5] for name in train} & {name[:5] for name in val}


def test_split_by_patient_keeps_patients_apart_and_tests_each_once(lidc):
    def patients(split, fold=0):
        return {name[:5] for name in names(LIDCClassification(lidc, split=split, by="patient", fold=fold))}

    assert not patients("trainval") & patients("test") and not patients("train") & patients("val")
    tested = [name for fold in range(7) for name in patients("test", fold)]
    assert sorted(tested) == [f"lidc{number}" for number in (1, 2, 3, 5, 6, 7, 8, 9)]  # P4's only nodule was not rated


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "scan"}, "by is 'published' or 'patient'"),
        ({"by": "patient", "fold": 7}, "fold from 0 to 6"),
        ({"split": "dev"}, "unknown split 'dev'"),
        ({"split_file": "gone.csv"}, "there is no table .*gone.csv"),
    ],
)
def test_unknown_choices_are_refused(lidc, options, message):
    with pytest.raises(ValueError, match=message):
        LIDCClassification(lidc, **options)


@pytest.mark.parametrize(
    ("line", "message"),
    [("7,lidc77_1.npz,", "lacks, such as lidc77_1"), ("7,lidc7_1.npz,", "lidc7_1 is in both train and test")],
)
def test_lists_that_do_not_fit_are_refused(lidc, line, message):
    (lidc / "train_test_split.csv").write_text(LISTS + line)
    with pytest.raises(ValueError, match=message):
        LIDCClassification(lidc)


def test_lists_of_numbers_are_refused(lidc):
    (lidc / "train_test_split.csv").write_text("train,test\n1,2\n")
    with pytest.raises(ValueError, match="lacks, such as 1"):
        LIDCClassification(lidc)


def test_a_nodule_listed_twice_is_refused(lidc):
    table = lidc / "info/lidc_nodule_info_new_with_subset.csv"
    table.write_text(NODULES + "lidc3_1,P3,13,1\n")
    with pytest.raises(ValueError, match=r"subset\.csv lists lidc3_1 more than once"):
        LIDCClassification(lidc)


def test_the_published_tables_give_the_published_sizes(real_data, lidc, monkeypatch):
    tables = real_data.parent / "reference/lidc_idri_split"
    if not tables.is_dir():
        pytest.skip(f"no published tables at {tables}")
    monkeypatch.setattr(LIDCClassification, "filter_data", lambda self: self.data_list)  # the crops are not here
    files = {
        "nodule_table": tables / "lidc_nodule_info_new_with_subset.csv",
        "split_file": tables / "train_test_split.csv",
    }

    def sizes(split, by):
        return np.bincount(LIDCClassification(lidc, split=split, by=by, **files).targets()).tolist()

    assert sizes("trainval", "published") == [986, 337]
    assert sizes("test", "published") == [246, 64]
    assert sizes("all", "patient") == [1232, 401]


@pytest.fixture
def medmnist(tmp_path, monkeypatch):
    """A set of 3 + 2 + 1 volumes under the name of VesselMNIST3D, with the md5 sum of the file as its published one."""
    path = tmp_path / "vesselmnist3d.npz"
    arrays = {}
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        values = np.arange(count, dtype=np.uint8)
        arrays[f"{split}_images"] = np.broadcast_to(values[:, None, None, None], (count, 28, 28, 28))
        arrays[f"{split}_labels"] = values[:, None] % 2
    np.savez(path, **arrays)
    published = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setitem(medmnist_module.FACTS["vesselmnist3d"].md5, 28, published)
    return path


def test_medmnist_follows_the_official_split(medmnist):
    train, test = (MedMNIST3D(medmnist.parent, name="vesselmnist3d", split=split) for split in ("train", "test"))
    assert (len(train), len(test)) == (3, 1)
    assert train.targets().tolist() == [0, 1, 0]
    assert train.metainfo["classes"] == ("vessel", "aneurysm")
    sample = train[2]
    assert (sample.name, sample.target, sample.image.spacing) == ("vesselmnist3d_train_2", 0, (1.0, 1.0, 1.0))
    assert sample.image.array.dtype == np.uint8
    assert (sample.image.array == np.full((1, 28, 28, 28), 2)).all()


def test_another_file_under_the_name_is_refused(medmnist):
    medmnist.write_bytes(medmnist.read_bytes()[:-1])
    with pytest.raises(
        ValueError, match=r"vesselmnist3d.npz is not the published file: md5 .* remove it and fetch https"
    ):
        MedMNIST3D(medmnist.parent, name="vesselmnist3d")


@pytest.mark.parametrize("wrong", [{"name": "chestmnist"}, {"split": "dev"}, {"size": 128}])
def test_unknown_sets_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match=r"the name is one of organmnist3d, .* the size 28 or 64"):
        MedMNIST3D(tmp_path, **{"name": "organmnist3d", **wrong})


def test_a_missing_file_is_named_with_its_address(tmp_path):
    with pytest.raises(ValueError, match=r"set download=True, or fetch https://zenodo.*/organmnist3d_64.npz"):
        MedMNIST3D(tmp_path, name="organmnist3d", size=64)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def server(medmnist, monkeypatch):
    """The folder of ``medmnist`` under an address on this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=medmnist.parent)) as http:
        monkeypatch.setattr(medmnist_module, "HOME", f"http://127.0.0.1:{http.server_port}")
        Thread(target=http.serve_forever, daemon=True).start()
        yield http
        http.shutdown()


def test_a_download_is_checked_before_it_takes_the_name(server, medmnist, tmp_path, monkeypatch):
    home = tmp_path / "fetched"
    assert len(MedMNIST3D(home, name="vesselmnist3d", download=True)) == 3
    assert [path.name for path in home.iterdir()] == ["vesselmnist3d.npz"]
    (home / "vesselmnist3d.npz").unlink()
    monkeypatch.setitem(medmnist_module.FACTS["vesselmnist3d"].md5, 28, "0" * 32)
    with pytest.raises(ValueError, match="is not the published file"):
        MedMNIST3D(home, name="vesselmnist3d", download=True)
    with pytest.raises(ValueError, match=r"cannot be fetched .*404"):
        MedMNIST3D(home, name="organmnist3d", download=True)
    assert not list(home.iterdir())
