"""What all data sets keep: cases found or refused at the door, none swapped in silence; own pictures and tables."""

import pickle

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vdt3d.datasets import ImageFolder, VolumeClassification
from vdt3d.datasets.splits import deal
from vdt3d.io import ScanError


def drop(sample):
    """A pipeline step that loses its sample."""
    return


@pytest.fixture
def volumes(tmp_path):
    """Seven patients with two volumes each; volume k holds the value k everywhere; patients 5 and 6 are ill."""
    rows = []
    for number in range(14):
        np.save(tmp_path / f"v{number}.npy", np.full((2, 3, 4), number, np.float32))
        patient = number // 2
        rows.append({"path": f"v{number}.npy", "target": "ill" if patient > 4 else "fit", "patient": f"p{patient}"})
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path


def edit(folder, **columns):
    """Change columns of the table."""
    table = pd.read_csv(folder / "labels.csv").assign(**columns)
    table.to_csv(folder / "labels.csv", index=False)


def test_a_table_of_volumes_becomes_samples(volumes):
    cases = VolumeClassification(volumes, split="all")
    assert cases.metainfo["classes"] == ("fit", "ill")
    assert cases.targets().tolist() == [0] * 10 + [1] * 4
    sample = cases[11]
    assert (sample.name, sample.target, sample.image.array.shape) == ("v11.npy", 1, (1, 2, 3, 4))
    assert (sample.image.array == 11).all()


def test_parts_share_no_patient_and_together_hold_every_case(volumes):
    names = {
        split: {case["name"] for case in map(cases.get_data_info, range(len(cases)))}
        for split in ("train", "val", "test")
        if (cases := VolumeClassification(volumes, split=split))
    }
    patients = {split: {int(name[1:-4]) // 2 for name in part} for split, part in names.items()}
    assert [len(part) for part in patients.values()] == [5, 1, 1]  # sevenths
    assert set.union(*patients.values()) == set(range(7))
    assert set.union(*names.values()) == {f"v{number}.npy" for number in range(14)}


def test_the_tables_own_split_is_kept(volumes):
    parts = ["train"] * 6 + ["val"] * 4 + ["test"] * 4
    edit(volumes, split=parts)
    assert len(VolumeClassification(volumes, split="trainval")) == 10
    assert VolumeClassification(volumes, split="test").targets().tolist() == [1, 1, 1, 1]
    edit(volumes, split=[*parts[1:], "test"])
    with pytest.raises(ValueError, match="patient p2 is in two parts"):
        VolumeClassification(volumes)


def test_targets_may_be_numbers_and_then_count_from_zero(volumes):
    edit(volumes, target=[0, 2] * 7)
    cases = VolumeClassification(volumes, split="all")
    assert cases.metainfo["classes"] == ("0", "1", "2")
    assert cases.targets().tolist() == [0, 2] * 7
    assert VolumeClassification(volumes, classes=("a", "b", "c")).metainfo["classes"] == ("a", "b", "c")


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"split": "dev"}, {}, r"labels.csv: the column 'split' holds \['dev'\]"),
        ({"split": "train"}, {"split": "test"}, "finds no case"),
        ({"patient": np.nan}, {}, r"blank cells in \['patient'\]"),
        (
            {"path": ["gone.npy", *(f"v{number}.npy" for number in range(1, 14))]},
            {"split": "all"},
            "1 files are missing, the first is .*gone.npy",
        ),
        ({"path": "v0.npy"}, {}, "labels.csv lists v0.npy more than once; keep one of the rows"),
        ({"target": 1_234_567_890_123}, {}, "target 1234567890123 is no class index; number classes from 0"),
        ({"target": 3}, {"classes": ("a", "b")}, r"targets \['3'\] are none of the classes"),
        ({}, {"classes": ("fit", "well")}, r"targets \['ill'\] are none of the classes"),
        ({}, {"split": "dev"}, "unknown split 'dev'; choose one of train, val, test, trainval, all"),
        ({}, {"table": "list.csv"}, "there is no table .*list.csv"),
    ],
)
def test_a_bad_table_is_refused_at_the_door(volumes, columns, options, message):
    edit(volumes, **columns)
    with pytest.raises(ValueError, match=message):
        VolumeClassification(volumes, **options)


def test_blanks_around_cells_make_no_class_of_their_own(volumes):
    (volumes / "labels.csv").write_text("path, target\nv0.npy , ill\nv1.npy,ill \nv2.npy,fit\n")
    cases = VolumeClassification(volumes, split="all")
    assert cases.metainfo["classes"] == ("fit", "ill")
    assert cases.targets().tolist() == [1, 1, 0]


def test_classes_may_be_called_labels_and_the_table_come_from_windows(volumes):
    (volumes / "labels.csv").write_bytes(b"\xef\xbb\xbfpath,label\r\nv0.npy,ill\r\nv1.npy,ill\r\nv2.npy,fit\r\n")
    assert VolumeClassification(volumes, split="all").targets().tolist() == [1, 1, 0]
    (volumes / "labels.csv").write_bytes("path,label\n".encode("utf-16"))
    with pytest.raises(ValueError, match=r"labels\.csv cannot be read as a csv table"):
        VolumeClassification(volumes)


def test_a_table_without_the_columns_is_refused(volumes):
    (volumes / "labels.csv").write_text("file,target\nv0.npy,fit\n")
    with pytest.raises(ValueError, match=r"columns \['file', 'target'\]; it must fill \['path', 'target'\]"):
        VolumeClassification(volumes)


def test_a_table_without_rows_is_refused(volumes):
    (volumes / "labels.csv").write_text("path,target\n")
    with pytest.raises(ValueError, match=r"has 0 rows"):
        VolumeClassification(volumes)


def test_a_missing_or_empty_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"there is no folder .*nowhere"):
        ImageFolder(tmp_path / "nowhere")
    (tmp_path / "class").mkdir()
    with pytest.raises(ValueError) as refused:
        ImageFolder(tmp_path)
    assert str(tmp_path) in str(refused.value) and ".jpg" in str(refused.value)


def test_readers_options_reach_the_reader(volumes):
    np.save(volumes / "v0.npy", np.zeros((2, 5, 6, 7), np.float32))
    cases = VolumeClassification(volumes, split="all", reader={"channels": 2, "spacing": (3.0, 1.0, 1.0)})
    assert cases[0].image.array.shape == (2, 5, 6, 7)
    assert cases[0].image.spacing == (3.0, 1.0, 1.0)


def test_a_lost_volume_is_an_error_that_names_case_and_pipeline(volumes):
    cases = VolumeClassification(volumes, split="all", pipeline=[drop])
    with pytest.raises(ValueError, match=r"(?s)case 'v3.npy': the pipeline returned None.*drop"):
        cases[3]


def test_a_data_set_can_be_sent_to_a_spawned_worker(volumes):
    cases = VolumeClassification(volumes, split="all", pipeline=[{"type": "ZScore"}, {"type": "PackVolume"}])
    there = pickle.loads(pickle.dumps(cases))
    assert there[2]["data_samples"].sample_name == "v2.npy"
    assert there.targets().tolist() == cases.targets().tolist()


def test_dealing_follows_the_names_alone_and_shares_out_every_class():
    names = pd.Series([f"case{number}" for number in range(40)])
    targets = pd.Series([0] * 30 + [1] * 10)
    folds = deal(names, targets, 5)
    assert pd.crosstab(targets, folds).to_numpy().tolist() == [[6] * 5, [2] * 5]
    order = np.random.default_rng(0).permutation(40)
    assert (deal(names[order], targets[order], 5).sort_index() == folds).all()


@pytest.fixture
def pictures(tmp_path):
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        for number in range(20):
            Image.new("RGB", (8, 6)).save(tmp_path / name / f"{number}.jpg")
    return tmp_path


def test_a_part_of_every_class_of_pictures_is_held_out(pictures):
    train, val = (ImageFolder(pictures, part=part, one_in=5) for part in ("train", "val"))
    assert np.bincount(val.targets()).tolist() == [4, 4]
    assert np.bincount(train.targets()).tolist() == [16, 16]
    shown = [{case["img_path"] for case in map(part.get_data_info, range(len(part)))} for part in (train, val)]
    assert not shown[0] & shown[1]
    assert val.metainfo["classes"] == ("ant", "bee")


def test_the_held_out_pictures_are_the_same_wherever_the_folder_lies(pictures, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "moved"
    before = [case["img_path"] for case in ImageFolder(pictures, part="val").load_data_list()]
    pictures.rename(elsewhere)
    after = [case["img_path"] for case in ImageFolder(elsewhere, part="val").load_data_list()]
    assert [path.removeprefix(str(elsewhere)) for path in after] == [
        path.removeprefix(str(pictures)) for path in before
    ]


def test_pictures_pass_through_mmpretrains_pipeline(pictures):
    steps = [{"type": "LoadImageFromFile"}, {"type": "PackInputs"}]
    packed = ImageFolder(pictures, pipeline=steps)[39]
    assert packed["inputs"].shape == (3, 6, 8)
    assert packed["data_samples"].gt_label.tolist() == [1]


def test_a_lost_picture_is_an_error(pictures):
    with pytest.raises(ValueError, match=r"ant.0.jpg': the pipeline returned None"):
        ImageFolder(pictures, pipeline=[drop])[0]


@pytest.mark.parametrize("content", [b"", b"<html>", "cut"], ids=["empty", "HTML", "cut short"])
def test_a_file_that_is_no_whole_picture_is_named(pictures, content):
    first = pictures / "ant/0.jpg"
    first.write_bytes(first.read_bytes()[:-200] if content == "cut" else content)
    with pytest.raises(ScanError, match=r"(?s)ant.0.jpg: cannot be read as a picture .*; copy or download it again"):
        ImageFolder(pictures, pipeline=[{"type": "LoadImageFromFile"}])[0]


def test_pictures_of_more_than_8_bits_are_refused(pictures):
    Image.fromarray(np.full((6, 8), 4095, np.uint16)).save(pictures / "ant/0.png")
    found = ImageFolder(pictures, pipeline=[{"type": "LoadImageFromFile"}])
    deep = next(number for number in range(len(found)) if found.get_data_info(number)["img_path"].endswith("png"))
    with pytest.raises(ScanError, match=r"ant.0.png: has more than 8 bits a pixel \(mode I;16\); write it with 8"):
        found[deep]
    assert found[deep + 1]["img"].shape == (6, 8, 3)


def test_what_fails_after_reading_is_no_fault_of_the_picture(pictures):
    def fail(picture):
        raise OSError("another file")

    with pytest.raises(OSError, match=r"^another file$"):
        ImageFolder(pictures, pipeline=[{"type": "LoadImageFromFile"}, fail])[0]


def test_a_part_without_pictures_is_refused(tmp_path):
    (tmp_path / "ant").mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / "ant/only.jpg")
    assert len(ImageFolder(tmp_path, part="val")) == 1
    with pytest.raises(ValueError, match="of 1 pictures none is in the part 'train'"):
        ImageFolder(tmp_path, part="train")


def test_an_unknown_part_is_refused(pictures):
    with pytest.raises(ValueError, match="part is 'all', 'train' or 'val'"):
        ImageFolder(pictures, part="test")
