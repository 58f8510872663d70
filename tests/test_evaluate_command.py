"""``vdt3d evaluate``: files and folders are matched, scored and written; everything that is wrong is named at once."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vdt3d import __version__
from vdt3d.cli import main
from vdt3d.cli.evaluate import DEFINITIONS
from vdt3d.evaluation import surface
from vdt3d.io import write_nifti
from vdt3d.structures import LabelMap, affine_from_spacing

SPACING = (2.0, 1.0, 1.0)


def write(path: Path, *places: tuple[int, tuple], shape: tuple[int, ...] = (6, 5, 5), spacing=SPACING) -> None:
    array = np.zeros(shape, np.uint8)
    for label, place in places:
        array[place] = label
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(LabelMap(array[None], affine_from_spacing(spacing)), path)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two cases: in one a voxel lies a slice of 2 mm away; in the other the tumour, 2, is missed."""
    pred, ref = tmp_path / "pred", tmp_path / "ref"
    write(pred / "case_1.nii.gz", (1, (2, 2, 2)))
    write(ref / "case_1.nii.gz", (1, (3, 2, 2)))
    write(pred / "case_2.nii.gz", (1, (2, 2, slice(0, 4))))
    write(ref / "case_2.nii.gz", (1, (2, 2, slice(0, 4))), (2, (3, 3, 3)))
    (pred / "dataset.json").write_text("{}")  # as nnU-Net leaves them
    (ref / "._case_1.nii.gz").write_bytes(b"of another system")
    return pred, ref


def evaluate(pred: Path, ref: Path, *options: str) -> dict:
    out = ref.parent / "new" / "scores.json"
    main(["evaluate", str(pred), str(ref), "--out", str(out), "--overwrite", *options])
    return json.loads(out.read_text(), parse_constant=pytest.fail)  # called for NaN and Infinity, which are not JSON


def refused(capsys: pytest.CaptureFixture, *words: object) -> str:
    with pytest.raises(SystemExit) as left:
        main(["evaluate", *map(str, words)])
    assert left.value.code == 2
    return capsys.readouterr().err


def test_folders_by_hand(folders: tuple[Path, Path], capsys: pytest.CaptureFixture):
    table = folders[0].parent / "table.csv"
    saved = evaluate(*folders, "--labels", "organ=1", "tumour=2", "both=1,2", "--tolerance", "2", "--csv", str(table))
    assert {name: saved[name] for name in ("version", "definition", "tolerance", "ignore_index", "labels")} == {
        "version": __version__,
        "definition": "monai",
        "tolerance": 2,
        "ignore_index": 255,
        "labels": {"organ": 1, "tumour": 2, "both": [1, 2]},
    }
    first, second = saved["cases"]["case_1"], saved["cases"]["case_2"]
    counts = {"both": 0, "only_guess": 1, "only_truth": 1}
    scores = {"dice": 0, "iou": 0, "volume_difference": 0, "hd95": 2, "assd": 2, "mssd": 2, "nsd": 1}
    assert first["organ"] == first["both"] == counts | scores
    assert set(first["tumour"].values()) == {0, None}  # in neither map: no voxels, no scores
    assert (second["organ"]["dice"], second["organ"]["hd95"]) == (1, 0)
    assert (second["tumour"]["dice"], second["tumour"]["hd95"], second["tumour"]["nsd"]) == (0, None, 0)
    assert second["both"]["dice"] == 8 / 9
    summary = saved["summary"]
    assert summary["labels"]["organ"]["dice"]["mean"] == 0.5
    assert summary["labels"]["organ"]["dice_pooled"] == 8 / 10
    assert summary["labels"]["tumour"]["hd95"] == {
        "mean": None,
        "low": None,
        "high": None,
        "counted": 0,
        "absent": 1,
        "infinite": 1,
    }
    assert pd.read_csv(table).set_index("case").loc["case_2", "dice_both"] == 8 / 9
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    organ = next(row for row in rows if row[0] == "organ")
    assert organ == ["organ", "0.500", "0.800", "1.000", "1.000", "1.000", "1.000", "0", "0"]
    assert summary["labels"]["organ"]["dice"]["low"] is None  # two cases show nothing of the spread
    assert next(row for row in rows if row[0] == "tumour")[-2:] == ["1", "1"]  # one absent, one infinite


def test_one_image_is_scored_in_its_plane(tmp_path: Path):
    # Squares of 5 and 3 pixels around one middle, as PNG files: 16 and 8 pixels of outline, none inside.
    for folder, low in (("pred", 2), ("ref", 3)):
        (tmp_path / folder).mkdir()
        image = np.zeros((9, 9), np.uint8)
        image[low : 9 - low, low : 9 - low] = 1
        Image.fromarray(image).save(tmp_path / folder / "a.png")
    scores = evaluate(tmp_path / "pred", tmp_path / "ref", "--labels", "1")["cases"]["a"]["1"]
    assert scores["assd"] == pytest.approx((20 + 4 * 2**0.5) / 24) and scores["nsd"] == pytest.approx(20 / 24)


def test_labels_have_tolerances_of_their_own(folders: tuple[Path, Path], capsys: pytest.CaptureFixture):
    labels = ("--labels", "organ=1", "tumour=2")
    saved = evaluate(*folders, *labels, "--tolerance", "organ=2", "tumour=0.5")
    assert saved["tolerance"] == {"organ": 2, "tumour": 0.5}
    assert saved["cases"]["case_1"]["organ"]["nsd"] == 1
    out = ("--out", folders[0].parent / "x.json")
    assert "'tumour'" in refused(capsys, *folders, *labels, *out, "--tolerance", "organ=2")
    assert "--tolerance" in refused(capsys, *folders, *labels, *out, "--tolerance", "1", "organ=2")
    assert "organ=far" in refused(capsys, *folders, *labels, *out, "--tolerance", "organ=far")


def test_intervals_are_by_patient_where_names_hold_them(tmp_path: Path, capsys: pytest.CaptureFixture):
    for patient in "abc":  # each with a scan that is right and one that is missed
        for scan, guess in enumerate((2, 4)):
            write(tmp_path / f"ref/{patient}_{scan}.nii.gz", (1, (2, 2, 2)))
            write(tmp_path / f"pred/{patient}_{scan}.nii.gz", (1, (2, 2, guess)))
    folders = tmp_path / "pred", tmp_path / "ref"
    dice = evaluate(*folders, "--labels", "1", "--group", "^(.)_")["summary"]["mean"]["dice"]
    assert (dice["low"], dice["mean"], dice["high"]) == (0.5, 0.5, 0.5)
    dice = evaluate(*folders, "--labels", "1")["summary"]["mean"]["dice"]
    assert dice["low"] < 0.5 < dice["high"]
    out = ("--out", tmp_path / "x.json")
    assert "'a_0'" in refused(capsys, *folders, *out, "--labels", "1", "--group", "patient(.)")


def test_without_labels_every_label_of_the_references_is_scored(folders: tuple[Path, Path]):
    write(folders[0] / "case_1.nii.gz", (7, (2, 2, 2)))  # 7 is in no reference
    saved = evaluate(*folders)
    assert saved["labels"] == {"1": 1, "2": 2}
    assert all(set(labels) == {"1", "2"} for labels in saved["cases"].values())
    assert saved["cases"]["case_1"]["1"]["only_truth"] == 1


def test_two_files_of_any_names_and_formats(tmp_path: Path):
    guess = np.zeros((6, 5, 5), np.int16)
    guess[2, 2, 2] = 1
    np.save(tmp_path / "network.npy", guess)
    write(tmp_path / "Reader A.nii", (1, (2, 2, 2)), spacing=(1.0, 1.0, 1.0))
    saved = evaluate(tmp_path / "network.npy", tmp_path / "Reader A.nii", "--labels", "1")
    assert saved["cases"]["Reader A"]["1"]["dice"] == 1


def test_definitions_are_those_of_the_surfaces(folders: tuple[Path, Path]):
    assert DEFINITIONS == surface.DEFINITIONS
    for folder, last in zip(folders, (3, 2), strict=True):  # slabs that the volume cuts off, one a slice thicker
        write(folder / "case_1.nii.gz", (1, slice(0, last)))
    saved = evaluate(*folders, "--definition", "chaos", "--labels", "1")
    assert saved["definition"] == "chaos"
    assert saved["cases"]["case_1"]["1"]["assd"] == 2  # one plane each, a slice of 2 mm apart; others see the rims too


def test_cases_side_by_side_score_alike(folders: tuple[Path, Path]):
    assert evaluate(*folders, "--workers", "2", "--labels", "1") == evaluate(*folders, "--labels", "1")


def test_ignored_voxels(folders: tuple[Path, Path]):
    pred, ref = folders
    write(ref / "case_1.nii.gz", (1, (3, 2, 2)), (255, (2, 2, 2)))
    assert evaluate(pred, ref)["cases"]["case_1"]["1"]["only_guess"] == 0
    found = evaluate(pred, ref, "--ignore-index", "-1")
    assert (found["ignore_index"], found["labels"]) == (None, {"1": 1, "2": 2, "255": 255})
    assert found["cases"]["case_1"]["1"]["only_guess"] == 1


def test_all_cases_without_a_partner_are_named(folders: tuple[Path, Path], capsys: pytest.CaptureFixture):
    pred, ref = folders
    write(pred / "case_4.nii.gz")
    write(pred / "case_2.nii")
    write(ref / "case_0.nii.gz")
    write(ref / "case_3.mha.nii.gz")
    told = refused(capsys, pred, ref, "--out", ref.parent / "scores.json")
    assert "case_2.nii and case_2.nii.gz are one case; keep one of them" in told
    assert "no prediction of case_0 (case_0.nii.gz)" in told
    assert "no prediction of case_3.mha (case_3.mha.nii.gz)" in told
    assert "no reference of case_4 (case_4.nii.gz)" in told
    assert not (ref.parent / "scores.json").exists()


def test_all_files_that_cannot_be_scored_are_named(folders: tuple[Path, Path], capsys: pytest.CaptureFixture):
    pred, ref = folders
    write(pred / "case_1.nii.gz", shape=(6, 5, 4))
    write(pred / "case_2.nii.gz", spacing=(2.5, 1.0, 1.0))
    write(ref / "case_3.nii.gz")
    (pred / "case_3.nii.gz").write_bytes(b"")
    told = refused(capsys, pred, ref, "--labels", "1", "--out", ref.parent / "scores.json")
    assert "3 of 3 cases cannot be scored" in told
    assert "case_1.nii.gz: the prediction, (6, 5, 4) voxels" in told
    assert "case_2.nii.gz: the prediction, (6, 5, 5) voxels of (2.5, 1.0, 1.0) mm" in told
    assert "case_3.nii.gz: is empty" in told
    assert not (ref.parent / "scores.json").exists()


def test_grids_that_differ_are_printed_as_different(tmp_path: Path, capsys: pytest.CaptureFixture):
    # 0.703125 and 0.7031 mm are 0.018 voxels apart over 512 columns, and alike to four decimals.
    for name, step in (("pred", 0.703125), ("ref", 0.7031)):
        write(tmp_path / f"{name}.nii.gz", (1, (1, 1, 1)), shape=(3, 4, 512), spacing=(2.5, 0.703125, step))
    told = refused(capsys, tmp_path / "pred.nii.gz", tmp_path / "ref.nii.gz", "--out", tmp_path / "s.json")
    assert "(2.5, 0.70312, 0.70312) mm" in told and "(2.5, 0.70312, 0.7031) mm" in told


def test_scans_of_one_channel_are_paired_as_nnunet_calls_them(tmp_path: Path):
    write(tmp_path / "pred/a_0000.nii.gz", (1, (2, 2, 2)))
    write(tmp_path / "ref/a.nii.gz", (1, (2, 2, 2)))
    write(tmp_path / "pred/b_0000.nii.gz", (1, (2, 2, 2)))
    write(tmp_path / "ref/b_0000.nii.gz", (1, (2, 2, slice(2, 5))))
    cases = evaluate(tmp_path / "pred", tmp_path / "ref")["cases"]
    assert {name: labels["1"]["dice"] for name, labels in cases.items()} == {"a": 1, "b_0000": 0.5}


def test_a_pair_of_links_without_targets_is_not_left_out(folders, capsys: pytest.CaptureFixture):
    for folder in folders:
        (folder / "case_3.nii.gz").symlink_to(folder / "annex.nii.gz")
    told = refused(capsys, *folders, "--labels", "1", "--out", folders[0].parent / "scores.json")
    assert "case_3.nii.gz: is a link to" in told


def test_files_that_exist_are_replaced_only_when_asked_to(folders, capsys: pytest.CaptureFixture):
    notes = folders[0].parent / "notes.json"
    notes.write_text("by hand")
    assert str(notes) in refused(capsys, *folders, "--out", notes) and notes.read_text() == "by hand"
    table = folders[0].parent / "table.csv"
    table.mkdir()
    assert str(table) in refused(capsys, *folders, "--out", notes, "--csv", table, "--overwrite")
    link = folders[0].parent / "link.json"
    link.symlink_to(folders[1] / "case_1.nii.gz")
    assert str(link) in refused(capsys, *folders, "--out", link, "--overwrite")
    main(["evaluate", *map(str, folders), "--out", str(notes), "--overwrite"])
    assert "summary" in json.loads(notes.read_text())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--labels", "liver="], "'liver=' is none of the forms 3, liver=1, both=1,2"),
        (["--labels", "a=1", "a=2"], "--labels names a twice"),
        (["--labels", "255"], "label 255 is to be scored and ignored at once"),
        (["--tolerance", "-1"], "'-1' is no distance in mm"),
        (["--csv", "table.txt"], "table.txt: wanted a file name that ends in .csv"),
        (["--out", "scores.csv"], "scores.csv: wanted a file name that ends in .json"),
    ],
)
def test_a_wrong_word_is_answered(options, message, folders: tuple[Path, Path], capsys: pytest.CaptureFixture):
    assert message in refused(capsys, *folders, "--out", folders[0].parent / "scores.json", *options)


def test_wrong_paths_are_answered(folders: tuple[Path, Path], capsys: pytest.CaptureFixture):
    pred, ref = folders
    words = ("--out", ref.parent / "scores.json")
    assert "nowhere does not exist" in refused(capsys, pred.parent / "nowhere", ref, *words)
    assert "one is a folder, the other a file" in refused(capsys, pred, ref / "case_1.nii.gz", *words)
    empty = ref.parent / "empty"
    empty.mkdir()
    assert "holds no label map" in refused(capsys, empty, empty, *words)
    write(ref.parent / "background.nii.gz")
    background = ref.parent / "background.nii.gz"
    assert "hold no label but 0 and the ignored 255" in refused(capsys, background, background, *words)


def test_the_published_figures_of_chaos(real_data: Path, tmp_path: Path):
    # What the challenge's own evaluation prints for these two masks: DICE 0.978, RAVD 0.665, ASSD 0.734, MSSD 14.
    folder = real_data / "chaos_ct_liver"
    words = (folder / "liver_sample_submission.nii.gz", folder / "liver_label.nii.gz", "--labels", "liver=1")
    for definition, assd in (("chaos", 0.734), ("monai", 0.713)):
        out = tmp_path / f"{definition}.json"
        main(["evaluate", *map(str, words), "--definition", definition, "--out", str(out)])
        liver = json.loads(out.read_text())["cases"]["liver_label"]["liver"]
        assert (round(liver["dice"], 3), round(liver["assd"], 3), liver["mssd"]) == (0.978, assd, 14)
        assert round(abs(liver["volume_difference"]) * 100, 3) == 0.665
