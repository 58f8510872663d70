"""The GI tract challenge's scans: overlaps as bits, its tree read slice by slice, and a likeness of it made up."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import medseg.datasets.gi_tract
from medseg.datasets import GITract
from medseg.datasets.gi_slices import GI_ORGANS, write_gi_like
from medseg.datasets.gi_tract import ORGANS
from vdt3d.io import ScanError, SliceStack, slices
from vdt3d.structures import overlapping_classes, overlapping_regions

HEADER = "id,class,segmentation"


@pytest.fixture(autouse=True)
def no_garbage(monkeypatch):
    """mmengine collects garbage for every data set it makes: half a second each, in a process that holds torch."""
    monkeypatch.setattr("mmengine.dataset.base_dataset.gc.collect", lambda: 0)


def write_scan(root: Path, name: str, first: int = 1, part: str = "train") -> Path:
    """Three slices, 3 wide and 2 high, of 1.5 x 1.63 mm (x, y); pixel p (from 0) of slice n holds 10000 n + p."""
    folder = root / part / name.partition("_")[0] / name / "scans"
    folder.mkdir(parents=True)
    for number in range(first, first + 3):
        plane = (10000 * number + np.arange(6)).astype(np.uint16).reshape(2, 3)
        Image.fromarray(plane).save(folder / f"slice_{number:04d}_3_2_1.50_1.63.png")
    return folder


def rows(name: str, **codes: str) -> list[str]:
    """The lines of slices 1 to 3; ``codes`` of the second, the others are empty."""
    return [
        f"{name}_slice_{number:04d},{organ},{codes.get(organ, '') if number == 2 else ''}"
        for number in (1, 2, 3)
        for organ in ORGANS
    ]


def write_table(root: Path, lines: list[str]) -> None:
    (root / "train.csv").write_text("\n".join([HEADER, *lines]) + "\n")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Four labelled case-days of two cases, of which one has organs, and one that the table does not name."""
    days = ("case10_day0", "case2_day9", "case2_day10", "case10_day7")
    for name in days:
        write_scan(tmp_path, name)
    write_scan(tmp_path, "case3_day0", part="test")
    # Pixels count from 1, row by row: the large bowel has the first two of the first row, the stomach the last two.
    first, *others = days
    codes = rows(first, large_bowel="1 2", small_bowel="6 1", stomach="2 2")
    write_table(tmp_path, [*codes, *(line for name in others for line in rows(name))])
    return tmp_path


def names(cases: GITract) -> list[str]:
    return [cases.get_data_info(index)["name"] for index in range(len(cases))]


def test_organs_are_bits():
    assert overlapping_classes(("a", "b", "c")) == ("background", "a", "b", "a+b", "c", "a+c", "b+c", "a+b+c")
    assert overlapping_regions(("a", "b", "c")) == {"a": (1, 3, 5, 7), "b": (2, 3, 6, 7), "c": (4, 5, 6, 7)}
    assert overlapping_classes("ab") == ("background", "a", "b", "a+b")
    assert len(overlapping_classes("abcdefg")) == 128


@pytest.mark.parametrize("organs", [(), "abcdefgh", ("liver", "spleen", "liver")])
def test_organs_that_cannot_be_bits_are_refused(organs):
    for function in (overlapping_classes, overlapping_regions):
        with pytest.raises(ValueError, match="one to 7 different names"):
            function(organs)


def test_the_release_is_read_as_it_is(tree: Path):
    cases = GITract(tree, split="all")
    assert names(cases) == ["case2_day9", "case2_day10", "case10_day0", "case10_day7"]
    sample = cases[2]
    assert (sample.name, sample.group, sample.image.shape) == ("case10_day0", "case10", (3, 2, 3))
    assert np.allclose(sample.image.spacing, (3.0, 1.63, 1.5))
    array = np.asarray(sample.image.array)
    assert array.dtype == np.uint16 and array[0, 2].tolist() == [[30000, 30001, 30002], [30003, 30004, 30005]]
    labels = sample.label_map.array[0]
    assert labels[1].tolist() == [[1, 1 + 4, 4], [0, 0, 2]]
    assert not labels[[0, 2]].any() and not cases[0].label_map.array.any()  # empty cells are empty masks
    assert cases.metainfo["classes"][5] == "large_bowel+stomach" and cases.metainfo["modality"] == ("MRI",)
    assert cases.metainfo["regions"]["stomach"] == (4, 5, 6, 7)


def test_slices_stay_in_their_files(tree: Path, monkeypatch: pytest.MonkeyPatch):
    sample = GITract(tree, split="all")[0]
    assert isinstance(sample.image.array, SliceStack)
    opened = []
    honest = slices.read_picture
    monkeypatch.setattr(slices, "read_picture", lambda path: opened.append(path.name) or honest(path))
    assert sample.image.array[:, 1:2].max() == 20005
    assert opened == ["slice_0002_3_2_1.50_1.63.png"]


def test_the_table_is_read_once_for_all_cases(tree: Path, monkeypatch: pytest.MonkeyPatch):
    read, honest = [], medseg.datasets.gi_tract.read_masks
    monkeypatch.setattr(medseg.datasets.gi_tract, "read_masks", lambda *a: read.append(a) or honest(*a))
    for split in ("train", "val"):
        cases = GITract(tree, split=split, folds=2)
        for index in range(len(cases)):
            assert cases[index].label_map is not None
    assert len(read) == 1
    write_table(tree, [line for name in names(GITract(tree, split="all")) for line in rows(name)])
    assert not any(cases[index].label_map.array.any() for index in range(len(cases)))  # of the new table
    assert len(read) == 2


def test_whole_scans_keep_their_truth_apart(tree: Path):
    sample = GITract(tree, split="all", whole_scans=True)[2]
    assert sample.label_map is None and sample.reference.array.max() == 5


def test_slice_numbers_may_begin_anywhere(tmp_path: Path):
    write_scan(tmp_path, "case1_day0", first=2)
    lines = [line.replace("slice_0001", "slice_0004") for line in rows("case1_day0", stomach="4 3")]
    write_table(tmp_path, lines)  # slices 4, 2 and 3, in this order
    labels = GITract(tmp_path, split="all")[0].label_map.array[0]
    assert labels.tolist() == [[[0, 0, 0], [4, 4, 4]], [[0] * 3] * 2, [[0] * 3] * 2]


def test_days_of_a_case_stay_together(tree: Path):
    held_out = [{name.partition("_")[0] for name in names(GITract(tree, split="val", fold=n, folds=2))} for n in (0, 1)]
    assert sorted(map(sorted, held_out)) == [["case10"], ["case2"]]
    for fold, other in ((0, 1), (1, 0)):
        assert {n.partition("_")[0] for n in names(GITract(tree, fold=fold, folds=2))} == held_out[other]


def test_a_split_file_splits_days_of_a_case_only_on_purpose(tree: Path):
    fold = {"train": ["case10", "case2_day9"], "val": ["case2_day10"]}
    (tree / "torn.json").write_text(json.dumps([fold]))
    with pytest.raises(ValueError, match=r"torn.json: 'case2' is in 'train' and 'val'"):
        GITract(tree, split_file="torn.json")
    (tree / "torn.json").write_text(json.dumps([fold | {"by_day": ["case2"]}]))
    parts = [GITract(tree, split=split, split_file="torn.json") for split in ("train", "val")]
    assert [names(part) for part in parts] == [["case2_day9", "case10_day0", "case10_day7"], ["case2_day10"]]
    assert parts[1][0].group == "case2"  # scores of the two days still belong together
    (tree / "torn.json").write_text(json.dumps([{"train": ["case2"], "val": ["case2_day10"], "by_day": ["case2"]}]))
    with pytest.raises(ValueError, match=r"torn.json: 'case2_day10' is in 'train' and 'val'"):
        GITract(tree, split_file="torn.json")


def test_scans_that_the_table_does_not_name_are_test_cases(tree: Path):
    cases = GITract(tree, split="test")
    assert names(cases) == ["case3_day0"]
    assert cases[0].label_map is None and cases[0].reference is None


@pytest.mark.parametrize("below", ["", "train", "train/case2"])
def test_scans_alone_can_be_predicted(tree: Path, below: str):
    (tree / "train.csv").unlink()
    every = ("case2_day9", "case2_day10", "case3_day0", "case10_day0", "case10_day7")
    wanted = [name for name in every if next(tree.rglob(name)).is_relative_to(tree / below)]
    for split in ("all", "test"):
        cases = GITract(tree / below, split=split)
        assert names(cases) == wanted and cases[0].label_map is None
    with pytest.raises(ScanError, match=r"train.csv: is missing .* split='train' is to be learnt from"):
        GITract(tree / below)


def test_a_folder_without_scans_is_refused(tmp_path: Path):
    with pytest.raises(ScanError, match="holds no train/case123/case123_day20/scans"):
        GITract(tmp_path, split="all")


def spoil(tree: Path, what: str) -> str:
    """Make case2_day9 wrong in one way; the answer is what the message says."""
    scans, table = tree / "train/case2/case2_day9/scans", tree / "train.csv"
    last = scans / "slice_0003_3_2_1.50_1.63.png"
    if what == "row without slice":
        last.unlink()
        return r"train.csv: names slices of case2_day9 that are not in .*case2_day9/scans: 3; put them there, or"
    if what == "slice without rows":
        shutil.copy(last, scans / "slice_0004_3_2_1.50_1.63.png")
        return r"train.csv: has no rows for slices of case2_day9 that are in .*case2_day9/scans: 4; add them"
    if what == "hole":
        (scans / "slice_0002_3_2_1.50_1.63.png").unlink()
        return r"case2_day9/scans: .* lacks 2"
    if what == "another spacing":
        last.rename(scans / "slice_0003_3_2_1.50_1.50.png")
        return r"case2_day9/scans: .* and slice_0003_3_2_1.50_1.50.png state different sizes or spacings"
    if what == "another size":
        last.unlink()
        Image.fromarray(np.ones((3, 2), np.uint16)).save(scans / "slice_0003_2_3_1.50_1.63.png")
        return r"case2_day9/scans: .* and slice_0003_2_3_1.50_1.63.png state different sizes or spacings"
    if what == "name":
        scans.parent.rename(scans.parents[1] / "day9")
        return r"case2/day9/scans: 'day9' is not the name of a case-day; name it"
    if what == "twice":
        shutil.copytree(scans, tree / "test/case2/case2_day9/scans")
        return r"case2_day9/scans: is of case2_day9, as is .*case2_day9/scans; keep one"
    if what == "no folder":
        shutil.rmtree(scans.parent)
        return r"train/case2/case2_day9/scans: is missing, a file of case 'case2_day9'"
    assert what == "another organ"
    table.write_text(table.read_text().replace("small_bowel", "liver"))
    return r"train.csv: row 2 .*: 'liver' is none of large_bowel, small_bowel, stomach"


WRONG = (
    *("row without slice", "slice without rows", "hole", "another spacing", "another size", "name", "twice"),
    *("no folder", "another organ"),
)


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit_is_named_at_the_door(what: str, tree: Path):
    message = spoil(tree, what)
    with pytest.raises(ScanError, match=message):
        GITract(tree, split="all")


def test_a_picture_or_code_that_does_not_fit_is_named_when_it_is_read(tree: Path):
    write_table(tree, rows("case2_day9", stomach="6 2"))  # pixels 6 and 7 of 6
    with pytest.raises(ScanError, match=r"train.csv: row 6 \(case2_day9_slice_0002, stomach\): run 1 \('6 2'\) leaves"):
        GITract(tree, split="all")[0]
    Image.fromarray(np.ones((3, 2), np.uint16)).save(tree / "train/case2/case2_day9/scans/slice_0003_3_2_1.50_1.63.png")
    write_table(tree, rows("case2_day9"))
    with pytest.raises(ScanError, match=r"slice_0003_3_2_1.50_1.63.png: is 2 x 3 pixels, where its name states 3 x 2"):
        np.asarray(GITract(tree, split="all")[0].image.array)


def test_the_likeness_has_the_challenges_tree(tmp_path: Path):
    root = write_gi_like(tmp_path / "gi")
    assert tuple(GI_ORGANS) == ORGANS
    found = sorted(path.relative_to(root).as_posix() for path in root.glob("train/*/*/scans"))
    assert found[:2] == ["train/case16/case16_day0/scans", "train/case16/case16_day13/scans"] and len(found) == 8
    sizes = {}
    for path in root.glob("train/*/*/scans/*.png"):
        width, height, x, y = path.stem.split("_")[2:]
        with Image.open(path) as picture:
            assert (picture.mode, picture.size) == ("I;16", (int(width), int(height)))
        sizes.setdefault(path.parts[-4], set()).add((int(width), int(height), x, y))
    assert sizes == {
        "case2": {(48, 40, "1.50", "1.50")},
        "case9": {(40, 40, "1.50", "1.50")},
        "case16": {(40, 48, "1.63", "1.63")},
        "case23": {(48, 40, "1.50", "1.50")},
    }
    table = pd.read_csv(root / "train.csv")
    assert list(table) == ["id", "class", "segmentation"] and len(table) == 8 * 16 * 3
    assert table.id[0] == "case16_day0_slice_0001" and tuple(table["class"][:3]) == ORGANS
    assert (root / "sample_submission.csv").read_text() == "id,class,predicted\n"


@pytest.mark.parametrize("seed", range(3))
def test_the_likeness_has_empty_ends_and_a_little_overlap(seed: int, tmp_path: Path):
    cases = GITract(write_gi_like(tmp_path / "gi", seed=seed), split="all")
    shares = set()
    for index in range(len(cases)):
        sample = cases[index]
        image, labels = np.asarray(sample.image.array)[0], sample.label_map.array[0]
        assert 4000 < image.max() < 7000 and 0 <= image.min() < 50
        assert not labels[:2].any() and not labels[-2:].any()
        assert set(np.unique(labels)) == {0, 1, 2, 4, 5}
        organ = {name: np.isin(labels, region) for name, region in cases.metainfo["regions"].items()}
        both = labels == 5
        assert 0 < both.sum() < 0.2 * organ["stomach"].sum()
        assert not both.any(axis=(1, 2))[organ["stomach"].any(axis=(1, 2))].all()  # in some slices, not in all
        assert image[organ["stomach"]].mean() > image[organ["small_bowel"] & ~both].mean() > image[labels == 0].mean()
        shares.add(int((labels == 0).all(axis=(1, 2)).sum()))
    assert len(shares) > 1  # cases differ in how many slices are empty


def test_one_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path):
    make = {"cases": 2, "days": 2, "slices": 4}
    one, same, other = (
        {
            path.relative_to(folder): path.read_bytes()
            for path in write_gi_like(folder, seed=seed, **make).rglob("*")
            if path.is_file()
        }
        for folder, seed in ((tmp_path / "a", 1), (tmp_path / "b", 1), (tmp_path / "c", 2))
    )
    assert one == same and one.keys() == other.keys() and len(one) == 2 * 2 * 4 + 3
    pictures = [path for path in one if path.suffix == ".png"]
    assert len({one[path] for path in pictures}) == len(pictures)  # no two days or slices are alike
    assert all(one[path] != other[path] for path in pictures)


def test_a_real_slice_keeps_its_numbers(real_data: Path, tmp_path: Path):
    scans = tmp_path / "case1/case1_day0/scans"
    scans.mkdir(parents=True)
    shutil.copy(real_data / "uwm_gi_tract_samples/original_16bit/slice_0001.png", scans)
    sample = GITract(tmp_path, split="all", reader={"spacing": (3.0, 1.5, 1.5)})[0]
    assert (sample.name, sample.image.shape, sample.image.array.dtype) == ("case1_day0", (1, 266, 266), np.uint16)
    values = np.asarray(sample.image.array)
    assert (values.min(), values.max()) == (0, 125)
