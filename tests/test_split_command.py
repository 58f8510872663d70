"""Folds: patients and days where they belong, empty slices shared out, nothing written that leaks."""

import json
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medseg.datasets import GITract, VolumeSegmentation
from medseg.datasets.gi_slices import write_gi_like
from vdt3d.cli import main
from vdt3d.cli.split import slice_table, write_folds
from vdt3d.datasets.splits import check_leaks, stratified_group_folds
from vdt3d.io import write_nifti
from vdt3d.structures import LabelMap, Volume


@pytest.fixture(autouse=True)
def no_garbage(monkeypatch):
    """mmengine collects garbage for every data set it makes: half a second each, in a process that holds torch."""
    monkeypatch.setattr("mmengine.dataset.base_dataset.gc.collect", lambda: 0)


def table(scans: dict[str, tuple[str, int, int]]) -> pd.DataFrame:
    """Slices of scans: name to group, empty slices, other slices."""
    rows = [
        {"name": name, "group": group, "empty": empty}
        for name, (group, *counts) in scans.items()
        for empty, count in zip((True, False), counts, strict=True)
        for _ in range(count)
    ]
    return pd.DataFrame(rows)


def days(cases: int, per_case: int) -> pd.DataFrame:
    """Scans c0_d0, c0_d1, ... of one empty slice and two others."""
    return table({f"c{c}_d{d}": (f"c{c}", 1, 2) for c in range(cases) for d in range(per_case)})


def held_out(folds: list[dict]) -> list[set[str]]:
    return [set(fold["val"]) for fold in folds]


@pytest.mark.parametrize("seed", range(3))
def test_every_fold_gets_its_share_of_empty_slices(seed: int):
    """Of two scans with four empty slices and two with none, the two hands can only have one of each."""
    folds = stratified_group_folds(
        table({"a": ("a", 4, 0), "b": ("b", 0, 4), "c": ("c", 4, 0), "d": ("d", 0, 4)}), 2, seed=seed
    )
    for fold in folds:
        assert len(fold["val"]) == 2 and len({"a", "c"} & set(fold["val"])) == 1
        assert sorted(fold["train"] + fold["val"]) == ["a", "b", "c", "d"] and fold["by_day"] == []


def test_each_scan_is_held_out_once_together_with_its_group():
    folds = stratified_group_folds(days(7, 3), 3)
    assert sum(map(len, held_out(folds))) == 21 and set.union(*held_out(folds)) == set(days(7, 3).name)
    for fold in folds:
        assert not {name[:2] for name in fold["train"]} & {name[:2] for name in fold["val"]}
        assert len(fold["val"]) in (6, 9)  # two cases, or three


def test_some_groups_are_split_by_day():
    """Of ten cases with two days a fifth, the two whose names have the lowest checksums; one with one day has none."""
    scans = pd.concat([days(10, 2), table({"single": ("single", 1, 2)})], ignore_index=True)
    chosen = sorted(sorted((f"c{n}" for n in range(10)), key=lambda case: zlib.crc32(case.encode()))[:2])
    for seed in (0, 1):
        folds = stratified_group_folds(scans, 5, by_day=0.2, seed=seed)
        assert all(fold["by_day"] == chosen for fold in folds)
        for fold in folds:
            torn = {name.partition("_")[0] for name in fold["train"]} & {name.partition("_")[0] for name in fold["val"]}
            assert torn <= set(chosen)
    everybody = stratified_group_folds(days(4, 2), 8, by_day=1.0)
    assert all(len(fold["val"]) == 1 for fold in everybody)  # eight hands, eight days


def test_folds_depend_on_names_and_seed_not_on_the_order_of_rows():
    scans = days(9, 2)
    folds = held_out(stratified_group_folds(scans, 3, by_day=0.3))
    assert folds == held_out(stratified_group_folds(scans.iloc[::-1], 3, by_day=0.3))
    assert folds != held_out(stratified_group_folds(scans, 3, by_day=0.3, seed=1))


def test_slices_without_empty_ones_are_dealt_out_without_a_warning(recwarn):
    assert list(map(len, held_out(stratified_group_folds(table({n: (n, 0, 3) for n in "abcd"}), 4)))) == [1] * 4
    few = table({"a": ("a", 1, 3), "b": ("b", 0, 3), "c": ("c", 0, 3)})
    assert list(map(len, held_out(stratified_group_folds(few, 3)))) == [1] * 3
    assert not [warning for warning in recwarn if warning.category is UserWarning]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 1}, r"folds=1: it takes two or more, and no more than there are groups, 4"),
        ({"folds": 5}, r"folds=5: .* 4"),
        ({"folds": 2, "by_day": 1.5}, r"by_day=1.5 is a share"),
    ],
)
def test_deals_that_cannot_be_are_refused(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        stratified_group_folds(days(4, 2), **options)


def test_leaks_are_found():
    groups = {"a1": "a", "a2": "a", "b1": "b"}
    check_leaks(
        [{"train": ["a1", "a2"], "val": ["b1"]}, {"train": ["b1"], "val": ["a1", "a2"], "note": "ours"}], groups
    )
    torn = {"train": ["a1"], "val": ["a2"], "test": ["b1"]}
    check_leaks([torn], groups, allowed=["a"])
    for folds, allowed, message in (
        ([{"train": []}, torn], [], r"fold 1: the group 'a' is in 'train' and in 'val'"),
        ([torn], ["b"], r"fold 0: the group 'a'"),
        ([torn | {"val": ["a2", "a1"]}], ["a"], r"fold 0: the scan 'a1' is in 'train' and in 'val'"),
        ([torn | {"train": ["b1"]}], ["a", "b"], r"fold 0: the scan 'b1' is in 'train' and in 'test'"),
        ([torn | {"val": ["c1"]}], ["a"], r"fold 0: 'c1' in 'val' is no scan of the data set"),
    ):
        with pytest.raises(ValueError, match=message):
            check_leaks(folds, groups, allowed)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cases of two days of eight slices."""
    return write_gi_like(tmp_path_factory.mktemp("gi") / "gi", cases=6, days=2, slices=8, side=20)


def test_the_command_splits_the_gi_tract(made: Path, tmp_path: Path, capsys):
    out = tmp_path / "new/folds.json"
    main(["split", str(made), "--folds", "3", "--by-day", "0.34", "--out", str(out)])
    folds = json.loads(out.read_text())
    assert len(folds) == 3 and len(folds[0]["by_day"]) == 2  # of six cases
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    # All of it: six cases, twelve scans, 96 slices; a slice is empty where three cells of the table are.
    empty = pd.read_csv(made / "train.csv").groupby("id").segmentation.count() == 0
    assert shown[-2] == ["all", "6", "12", "96", f"{empty.mean():.1%}"]
    assert shown[-1] == ["split", "by", "day:", f"{folds[0]['by_day'][0]},", folds[0]["by_day"][1]]
    every = []
    for number, fold in enumerate(folds):
        part = empty[empty.index.str.rsplit("_slice", n=1).str[0].isin(fold["val"])]
        cases = {name.partition("_")[0] for name in fold["val"]}
        counts = [str(len(cases)), str(len(fold["val"])), str(len(part)), f"{part.mean():.1%}"]
        assert shown[1 + number] == ["fold", str(number), *counts]
        parts = [GITract(made, split=split, split_file=out, fold=number, folds=3) for split in ("train", "val")]
        train, val = ({part.get_data_info(n)["name"] for n in range(len(part))} for part in parts)
        assert val == set(fold["val"]) and len(train | val) == 12 and not train & val
        every += val
    assert len(every) == len(set(every)) == 12


def test_empty_slices_are_those_of_the_table(made: Path):
    found = slice_table(made)
    empty = pd.read_csv(made / "train.csv").groupby("id").segmentation.count() == 0
    numbers = found.groupby("name").cumcount() + 1
    ids = found.name + "_slice_" + numbers.astype(str).str.zfill(4)
    assert empty[ids].tolist() == found["empty"].tolist() and 0 < found["empty"].mean() < 1
    assert found.group[0] == "case2"


def write_nnunet(root: Path, names: list[str], labelled: bool = True) -> Path:
    """Scans of four slices, the second of which is labelled and the third unknown."""
    labels = np.zeros((1, 4, 3, 3), np.uint8)
    labels[0, 1, 1, 1], labels[0, 2] = 1, 255
    for name in names:
        write_nifti(Volume(np.ones((1, 4, 3, 3), np.float32)), root / f"imagesTr/{name}_0000.nii.gz")
        if labelled:
            write_nifti(LabelMap(labels), root / f"labelsTr/{name}.nii.gz")
    content = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "organ": 1}, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def test_the_command_splits_other_layouts_by_their_label_maps(tmp_path: Path, capsys):
    names = [f"p{patient}_{visit}" for patient in range(4) for visit in range(2)]
    write_nnunet(tmp_path, names)
    out = tmp_path / "folds.json"
    main(["split", str(tmp_path), "--folds", "2", "--group", r"(p\d)_", "--out", str(out)])
    assert capsys.readouterr().out.splitlines()[-1].split() == ["all", "4", "8", "32", "75.0%"]  # three slices in four
    folds = json.loads(out.read_text())
    for fold in folds:
        assert len({name[:2] for name in fold["val"]}) == 2 and len(fold["val"]) == 4
    cases = VolumeSegmentation(tmp_path, split="val", split_file="folds.json", fold=1, group=r"(p\d)_")
    assert [cases.get_data_info(n)["name"] for n in range(4)] == folds[1]["val"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "folds.json"], "dataset.json: is missing"),
        (["--out", "folds.csv"], "folds.csv"),
    ],
)
def test_mistakes_are_said_in_a_line(words: list[str], message: str, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["split", str(tmp_path), *words])
    said = capsys.readouterr().err
    assert left.value.code == 2 and message in said and list(tmp_path.iterdir()) == []


def test_scans_without_labels_cannot_be_stratified(tmp_path: Path):
    write_nnunet(tmp_path, ["a", "b"], labelled=False)
    with pytest.raises(ValueError, match="case 'a' has no labels to tell empty slices by"):
        slice_table(tmp_path)


def test_folds_that_leak_are_not_written(tmp_path: Path):
    out = tmp_path / "folds.json"
    out.write_text("as it was")
    leak = [{"train": ["a1"], "val": ["a2"], "by_day": []}]
    with pytest.raises(ValueError, match="the group 'a' is in 'train' and in 'val'"):
        write_folds(out, leak, {"a1": "a", "a2": "a"})
    assert out.read_text() == "as it was" and len(list(tmp_path.iterdir())) == 1
    write_folds(out, [leak[0] | {"by_day": ["a"]}], {"a1": "a", "a2": "a"})
    assert json.loads(out.read_text())[0]["val"] == ["a2"]


def test_scans_are_not_called_patients(tmp_path: Path, capsys):
    write_nnunet(tmp_path, ["p0_0", "p0_1", "p1_0", "p1_1"])
    command = ["split", str(tmp_path), "--folds", "2", "--out", str(tmp_path / "folds.json")]
    main(command)
    said = capsys.readouterr()
    assert said.out.splitlines()[-1].split() == ["all", "not", "known", "4", "16", "75.0%"]
    assert "--group" in said.err and "p0_0" in said.err
    before = (tmp_path / "folds.json").read_text()
    with pytest.raises(SystemExit) as left:
        main([*command, "--seed", "1"])
    assert left.value.code == 2 and "folds.json" in capsys.readouterr().err
    assert (tmp_path / "folds.json").read_text() == before
    main([*command, "--group", r"(p\d)_", "--overwrite"])
    said = capsys.readouterr()
    assert said.out.splitlines()[-1].split()[1] == "2" and not said.err


def test_folds_do_not_replace_the_description_of_their_data_set(tmp_path: Path, capsys):
    write_nnunet(tmp_path, ["a", "b"])
    before = (tmp_path / "dataset.json").read_text()
    with pytest.raises(SystemExit) as left:
        main(["split", str(tmp_path), "--folds", "2", "--out", str(tmp_path / "dataset.json"), "--overwrite"])
    assert left.value.code == 2 and "dataset.json" in capsys.readouterr().err
    assert (tmp_path / "dataset.json").read_text() == before
