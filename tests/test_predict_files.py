"""``vdt3d predict`` on real life: DICOM trees, broken scans, interruptions; and what its files say, and of whom."""

import csv
import errno
import gzip
import json
import logging
import os
import re
import shlex
import signal
from pathlib import Path

import highdicom
import numpy as np
import processes
import pytest
import SimpleITK
from dicoms import IDENTITY, ROOT, TRACES, write_ct
from levels import LevelSegmentor, weights, write_config, write_scan
from PIL import Image

from vdt3d.cli import main
from vdt3d.io import ScanError, find_scans, read_label_map, read_volume, with_series, write_nifti
from vdt3d.structures import Volume

BRIGHT = (slice(2, 5), slice(3, 9), slice(4, 10))


@pytest.fixture
def config(tmp_path: Path) -> str:
    return write_config(tmp_path)


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    return weights(tmp_path, 0.5, dataset_meta={"classes": ["background", "box"]})


def bright(depth: int = 8) -> np.ndarray:
    """100 in a box, 0 about it."""
    array = np.zeros((depth, 12, 14), int)
    array[BRIGHT] = 100
    return array


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# ---- which scans ---------------------------------------------------------------------------------------------------


def test_patterns_are_filled_in_where_no_shell_did(tmp_path):
    for name in ("a/one.nii.gz", "a/b/two.nii.gz", "a/b/.three.nii.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_scans([tmp_path / "a/**/*.nii.gz"]) == {
        "one": tmp_path / "a/one.nii.gz",
        "two": tmp_path / "a/b/two.nii.gz",
    }
    assert find_scans([tmp_path / "a/[o]ne*"]) == {"one": tmp_path / "a/one.nii.gz"}
    (tmp_path / "a/odd[1].nii.gz").touch()  # a name, not a pattern
    assert list(find_scans([tmp_path / "a/odd[1].nii.gz"])) == ["odd[1]"]
    assert find_scans([tmp_path / "none*.nii"]) == {"none*": tmp_path / "none*.nii"}  # which reading refuses


def test_a_tree_of_dicom_folders_is_named_by_its_branches(tmp_path):
    for name in ("p1/ct", "p1/mr", "p2/ct"):
        write_ct(tmp_path / "tree" / name, bright(2))
    (tmp_path / "tree/DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "tree/p2/notes").mkdir()
    found = find_scans([tmp_path / "tree"])
    assert {name: path.relative_to(tmp_path / "tree").as_posix() for name, path in found.items()} == {
        "p1_ct": "p1/ct",
        "p1_mr": "p1/mr",
        "p2_ct": "p2/ct",
    }
    assert list(find_scans([tmp_path / "tree/p1/ct"])) == ["ct"]
    with pytest.raises(ValueError, match="would both become ct"):
        find_scans([tmp_path / "tree/p1", tmp_path / "tree/p2"])


def test_links_are_followed_and_one_without_its_target_is_named(tmp_path):
    write_ct(tmp_path / "store/p1/ct", bright(2))
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "p1").symlink_to(tmp_path / "store/p1")
    (tmp_path / "store/p1/up").symlink_to(tree)  # a loop
    assert list(find_scans([tree])) == ["p1_ct"]
    (tmp_path / "store/p1/ct/9.dcm").symlink_to(tmp_path / "annex/9.dcm")
    with pytest.raises(ScanError, match=r"9\.dcm: is a link to .*annex/9\.dcm"):
        read_volume(find_scans([tree])["p1_ct"])
    slices = tmp_path / "slices"
    slices.mkdir()
    Image.new("L", (4, 4)).save(slices / "1.png")
    (slices / "2.png").symlink_to(tmp_path / "annex/2.png")
    with pytest.raises(ScanError, match=r"2\.png: is a link to"):
        read_volume(slices)


def test_a_folder_of_analyze_pairs_is_refused_file_by_file(tmp_path):
    for name in ("a.hdr", "a.img", "b.hdr", "b.img"):
        (tmp_path / name).write_bytes(bytes(400))
    found = find_scans([tmp_path])
    assert list(found) == ["a", "b"]
    with pytest.raises(ScanError, match=r"a\.hdr: .*pair.*convert"):
        read_volume(found["a"])


@pytest.fixture
def two_series(tmp_path: Path) -> Path:
    folder = tmp_path / "two"
    write_ct(folder, bright(8), number=4)
    write_ct(folder, bright(3), series="9", number=5, SeriesDescription="Scout [1]")
    return folder


def test_series_are_chosen_by_rule_or_all_taken(two_series, tmp_path):
    write_ct(tmp_path / "one", bright(2), series="7")
    scans = find_scans([two_series, tmp_path / "one"])

    def chosen(choice: str | None) -> dict[str, str | None]:
        found, wrong = with_series(scans, choice)
        assert not wrong
        return {name: scan.series and scan.series.removeprefix(f"{ROOT}.2.") for name, scan in found.items()}

    assert chosen(None) == {"two": None, "one": None}
    assert chosen("largest") == {"two": "1", "one": "7"}
    assert chosen("all") == {"two_s4": "1", "two_s5": "9", "one": "7"}
    assert chosen(f"{ROOT}.2.9") == {"two": "9"}  # the folder without it is passed over
    with pytest.raises(ValueError, match="no DICOM folder holds the series '77'; --list-series tells"):
        with_series(scans, "77")


def test_series_of_one_size_or_number_are_told_apart_by_their_uids_alone(tmp_path):
    for series in "12":
        write_ct(tmp_path / "ct", bright(3), series=series)
    found, wrong = with_series(find_scans([tmp_path / "ct"]), "largest")
    assert not found and "its largest series are" in str(wrong[0]) and "--series UID" in str(wrong[0])
    found, _ = with_series(find_scans([tmp_path / "ct"]), "all")
    assert len(found) == 2 and all(len(name) == len("ct_s") + 8 for name in found)
    assert not any(ROOT in name for name in found)


def test_several_series_are_refused_with_what_tells_them_apart(two_series, tmp_path, config, checkpoint, capsys):
    with pytest.raises(SystemExit) as left:
        main(["predict", config, checkpoint, str(two_series), "-o", str(tmp_path / "out")])
    assert left.value.code == 1
    said = capsys.readouterr().err
    assert f"'{ROOT}.2.1' (number 4, CT, 8 slices, Body 3.0), '{ROOT}.2.9' (number 5, CT, 3 slices, Scout [1])" in said
    assert "QUICKSILVER" not in said

    main(["predict", config, checkpoint, str(two_series), "--list-series"])
    assert capsys.readouterr().out.splitlines() == [
        f"{two_series}:",
        f"  {ROOT}.2.1: number 4, CT, 8 slices, Body 3.0",
        f"  {ROOT}.2.9: number 5, CT, 3 slices, Scout [1]",
    ]
    main(["predict", config, checkpoint, str(two_series), "-o", str(tmp_path / "out"), "--series", "all"])
    for name, series in (("two_s4", "1"), ("two_s5", "9")):
        labels = read_label_map(tmp_path / f"out/{name}.nii.gz")
        assert labels.same_grid(read_volume(two_series, series=f"{ROOT}.2.{series}"))


def test_no_series_to_list_is_a_mistake(tmp_path, config, checkpoint, capsys):
    write_scan(tmp_path / "a.nii.gz")
    with pytest.raises(SystemExit) as left:
        main(["predict", config, checkpoint, str(tmp_path / "a.nii.gz"), "--list-series"])
    assert left.value.code == 2 and "there is no DICOM series in" in capsys.readouterr().err


# ---- many scans ----------------------------------------------------------------------------------------------------


def write_twenty(folder: Path) -> list[str]:
    """Twenty scans, of which three are broken, each in its way; their names."""
    names = [f"case{number:02d}" for number in range(20)]
    for name in names:
        write_scan(folder / f"{name}.nii.gz")
    cut = folder / "case03.nii.gz"
    cut.write_bytes(cut.read_bytes()[:-40])
    (folder / "case11.nii.gz").write_text("<!doctype html><title>Log in</title>")
    array = np.full((1, 4, 4, 4), np.inf, np.float32)
    write_nifti(Volume(array), folder / "case17.nii.gz")
    return [name for name in names if name not in ("case03", "case11", "case17")]


def test_of_twenty_scans_three_broken_ones_are_named_and_seventeen_done(tmp_path, config, checkpoint, capsys):
    Path(config).write_text(Path(config).read_text().replace('reader=dict(nan="zero")', "reader=dict()"))
    good = write_twenty(tmp_path / "in")
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as left:
        main(["predict", config, checkpoint, str(tmp_path / "in"), "-o", str(out)])
    assert left.value.code == 1
    said = capsys.readouterr()
    assert "17 label maps were written" in said.out
    head, *lines = said.err.splitlines()
    assert head == "3 of 20 scans could not be labelled:" and len(lines) == 3
    for line, name, why in zip(lines, ("03", "11", "17"), ("truncated", "web page", "NaN or infinite"), strict=True):
        assert f"case{name}.nii.gz" in line and why in line
    assert sorted(path.name.split(".")[0] for path in out.glob("*.nii.gz")) == good
    assert [row["scan"] for row in table(out / "volumes.csv")] == good


def killed_at_the_fifth(config: str, checkpoint: str, folder: Path, out: Path) -> None:
    """In a process of its own: it is killed, as a machine's failure would, before the fifth scan is answered."""
    honest, asked = LevelSegmentor.forward, []

    def forward(self, inputs, data_samples=None, mode="tensor"):
        if mode != "tensor":
            asked.append(data_samples)
        if len(asked) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return honest(self, inputs, data_samples, mode)

    LevelSegmentor.forward = forward
    main(["predict", config, checkpoint, str(folder), "-o", str(out)])


def test_killed_half_way_it_goes_on_where_it_was(tmp_path, config, checkpoint, capsys):
    for number in range(8):
        write_scan(tmp_path / f"in/case{number}.nii.gz")
    out = tmp_path / "out"
    outcome = processes.call(killed_at_the_fifth, config, checkpoint, tmp_path / "in", out)
    assert outcome.code == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")}
    assert sorted(path.name for path in before) == [f"case{number}.nii.gz" for number in range(4)]
    unfinished = {"scan": "case2", "unfinished": True}  # as if it had been killed between two files of one scan
    (out / "case2.volumes.json").write_text(json.dumps(unfinished))
    main(["predict", config, checkpoint, str(tmp_path / "in"), "-o", str(out)])
    said = capsys.readouterr().out
    assert "3 of 8 scans are in" in said and "5 label maps were written" in said
    redone = [path.name for path, then in before.items() if path.stat().st_mtime_ns != then]
    assert redone == ["case2.nii.gz"] and len(table(out / "volumes.csv")) == 8


def test_what_torch_cannot_do_with_one_scan_does_not_stop_the_rest(tmp_path, config, checkpoint, capsys, monkeypatch):
    honest = LevelSegmentor.forward

    def forward(self, inputs, data_samples=None, mode="tensor"):
        if data_samples is not None and data_samples[0].sample_name == "a":
            raise RuntimeError("Kernel size can't be greater than actual input size\nmore lines")
        return honest(self, inputs, data_samples, mode)

    monkeypatch.setattr(LevelSegmentor, "forward", forward)
    for name in "ab":
        write_scan(tmp_path / f"in/{name}.nii.gz")
    with pytest.raises(SystemExit):
        main(["predict", config, checkpoint, str(tmp_path / "in"), "-o", str(tmp_path / "out")])
    assert (tmp_path / "out/b.nii.gz").exists()
    assert capsys.readouterr().err.splitlines()[1:] == [
        f"  {tmp_path / 'in/a.nii.gz'}: Kernel size can't be greater than actual input size"
    ]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("out", ["in", "in/../in", "link", "IN"])
@pytest.mark.parametrize("words", [[], ["--overwrite"]])
def test_the_folder_of_the_scans_is_never_written_to(out, words, tmp_path, config, checkpoint, capsys):
    write_scan(tmp_path / "in/a.nii.gz")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    if not (tmp_path / out).exists():
        pytest.skip("this file system knows upper and lower case")
    before = contents(tmp_path / "in")
    with pytest.raises(SystemExit) as left:
        main(["predict", config, checkpoint, str(tmp_path / "in"), "-o", str(tmp_path / out), *words])
    assert left.value.code == 2 and str(tmp_path / out) in capsys.readouterr().err
    assert contents(tmp_path / "in") == before


@pytest.mark.parametrize("way", ["same", "hard link", "symbolic link", "beside"])
def test_a_scan_is_never_replaced(way, tmp_path, config, checkpoint, capsys):
    scan, out = tmp_path / "in/a.nii.gz", tmp_path / "out"
    write_scan(scan)
    out.mkdir()
    if way == "hard link":
        (out / "a.nii.gz").hardlink_to(scan)
    elif way == "symbolic link":
        (out / "a.nii.gz").symlink_to(scan)
    else:
        out = scan.parent
    given = out / "a.nii.gz" if way == "beside" else scan
    before = scan.read_bytes()
    with pytest.raises(SystemExit) as left:
        main(["predict", config, checkpoint, str(given), "-o", str(out), "--overwrite"])
    assert left.value.code == 2 and "a.nii.gz" in capsys.readouterr().err
    assert scan.read_bytes() == before and not (out / "labels.json").exists()


@pytest.mark.parametrize("file", ["a.nii.gz", "volumes.csv", "labels.json", "a.volumes.json", "uncertainty/a.nii.gz"])
def test_files_of_other_origin_are_never_replaced(file, tmp_path, config, checkpoint, capsys):
    write_scan(tmp_path / "in/a.nii.gz")
    foreign = tmp_path / "out" / file
    foreign.parent.mkdir(parents=True)
    foreign.write_text("{}")
    words = ["-o", str(tmp_path / "out"), "--overwrite", "--uncertainty"]
    with pytest.raises(SystemExit) as left:
        main(["predict", config, checkpoint, str(tmp_path / "in"), *words])
    assert left.value.code == 2 and str(foreign) in capsys.readouterr().err
    assert contents(tmp_path / "out") == {file: b"{}"}


def test_a_reference_put_beside_predictions_is_kept(tmp_path, config, checkpoint, capsys):
    write_scan(tmp_path / "in/a.nii.gz")
    command = ["predict", config, checkpoint, str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    main(command)
    write_scan(tmp_path / "in/b.nii.gz")
    (tmp_path / "out/b.nii.gz").write_bytes(b"by hand")
    with pytest.raises(SystemExit):
        main([*command, "--overwrite"])
    assert str(tmp_path / "out/b.nii.gz") in capsys.readouterr().err
    assert (tmp_path / "out/b.nii.gz").read_bytes() == b"by hand"


def test_a_full_disk_leaves_nothing_of_a_scan_and_lists_it_nowhere(tmp_path, config, checkpoint, capsys, monkeypatch):
    for name in "ab":
        write_scan(tmp_path / f"in/{name}.nii.gz")

    def full(labels, path):
        if path.name == "b.nii.gz":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write_nifti(labels, path)

    monkeypatch.setattr("vdt3d.apis.prediction_files.write_nifti", full)
    command = ["predict", config, checkpoint, str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as left:
        main(command)
    said = capsys.readouterr().err
    assert left.value.code == 1 and "1 of 2 scans" in said and str(tmp_path / "in/b.nii.gz") in said
    assert [row["scan"] for row in table(tmp_path / "out/volumes.csv")] == ["a"]
    assert not list((tmp_path / "out").glob("b.*"))
    # A scan whose label map was removed by hand is no longer listed either, and is predicted again.
    monkeypatch.undo()
    (tmp_path / "out/a.nii.gz").unlink()
    main(command)
    assert "2 label maps" in capsys.readouterr().out
    assert [row["scan"] for row in table(tmp_path / "out/volumes.csv")] == ["a", "b"]


def test_a_link_whose_target_is_missing_is_a_scan_that_cannot_be_read(tmp_path, config, checkpoint, capsys):
    write_scan(tmp_path / "in/b.nii.gz")
    (tmp_path / "in/a.nii.gz").symlink_to(tmp_path / "annex/a.nii.gz")
    with pytest.raises(SystemExit) as left:
        main(["predict", config, checkpoint, str(tmp_path / "in"), "-o", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert left.value.code == 1 and "1 of 2 scans" in said and str(tmp_path / "annex/a.nii.gz") in said
    assert (tmp_path / "out/b.nii.gz").exists()


# ---- what the files say --------------------------------------------------------------------------------------------


def test_volumes_are_counted_in_voxels_and_ml(tmp_path, config, checkpoint):
    # The box of write_scan is 4 x 8 x 12 = 384 voxels of 2 x 1 x 1 mm: 0.768 ml.
    write_scan(tmp_path / "in/a.nii.gz")
    main(["predict", config, checkpoint, str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--sheets"])
    assert table(tmp_path / "out/volumes.csv") == [{"scan": "a", "label": "box", "voxels": "384", "ml": "0.768"}]
    report = json.loads((tmp_path / "out/a.volumes.json").read_text())
    assert report["volumes"] == [{"label": "box", "voxels": 384, "ml": 0.768}]
    assert report["spacing_mm_dhw"] == [2, 1, 1] and "not a medical device" in report["note"]
    with Image.open(tmp_path / "out/sheets/a.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    assert (np.abs(pixels - [230, 159, 0]).max(-1) < 10).sum() > 100  # the palette's first colour


def test_regions_have_volumes_of_their_own(tmp_path, config):
    meta = {"classes": ["background", "box", "more"], "regions": {"all": (1, 2), "more": (2,)}}
    write_scan(tmp_path / "in/a.nii.gz")
    path = weights(tmp_path, 0.5, dataset_meta=meta)
    main(["predict", config, path, str(tmp_path / "in"), "-o", str(tmp_path / "out")])
    assert [(row["label"], row["voxels"]) for row in table(tmp_path / "out/volumes.csv")] == [
        ("all", "384"),
        ("more", "0"),
    ]


def test_a_segmentation_goes_back_to_its_series(tmp_path, config, checkpoint):
    write_ct(tmp_path / "ct", bright())
    main(["predict", config, checkpoint, str(tmp_path / "ct"), "-o", str(tmp_path / "out"), "--dicom-seg"])
    labels = read_label_map(tmp_path / "out/ct.nii.gz")
    assert np.array_equal(labels.array[0] == 1, bright() > 0)
    seg = highdicom.seg.segread(tmp_path / "out/ct.seg.dcm")
    slices = [f"{ROOT}.4.1.{place}" for place in range(1, 9)]
    frames = seg.get_pixels_by_source_instance(slices, combine_segments=True, assert_missing_frames_are_empty=True)
    assert np.array_equal(frames, labels.array[0]) and seg.SegmentSequence[0].SegmentLabel == "box"


def test_the_label_map_stays_where_its_dicom_seg_is_refused(tmp_path, config, checkpoint, capsys, monkeypatch):
    def refuse(labels, path, *rest, **options):
        raise ScanError(path, "its slices have no SliceThickness", "export them again")

    monkeypatch.setattr("vdt3d.apis.prediction_files.write_dicom_seg", refuse)
    write_ct(tmp_path / "ct", bright())
    with pytest.raises(SystemExit) as left:
        main(["predict", config, checkpoint, str(tmp_path / "ct"), "-o", str(tmp_path / "out"), "--dicom-seg"])
    said = capsys.readouterr().err
    assert left.value.code == 1 and "ct.seg.dcm" in said and "ct.nii.gz was written" in said
    assert np.array_equal(read_label_map(tmp_path / "out/ct.nii.gz").array[0] == 1, bright() > 0)


def test_a_segmentation_without_a_series_is_refused_before_the_work(tmp_path, config, checkpoint, capsys, monkeypatch):
    monkeypatch.setattr(LevelSegmentor, "forward", None)
    write_ct(tmp_path / "ct", bright(), StudyInstanceUID="")
    write_scan(tmp_path / "a.nii.gz")
    inputs = [str(tmp_path / name) for name in ("ct", "a.nii.gz")]
    with pytest.raises(SystemExit) as left:
        main(["predict", config, checkpoint, *inputs, "-o", str(tmp_path / "out"), "--dicom-seg"])
    said = capsys.readouterr().err
    assert left.value.code == 1 and "its headers have no StudyInstanceUID;" in said
    assert "a.nii.gz: is no folder of a DICOM series" in said


def test_labels_are_written_though_the_segmentation_cannot_be(tmp_path, config, checkpoint, capsys):
    for path in write_ct(tmp_path / "ct", bright(), SpecificCharacterSet="ISO_IR 192"):
        name = IDENTITY["PatientName"].encode()
        path.write_bytes(path.read_bytes().replace(name, name[:-1] + b"\xfc"))  # no letter of UTF-8
    with pytest.raises(SystemExit):
        main(["predict", config, checkpoint, str(tmp_path / "ct"), "-o", str(tmp_path / "out"), "--dicom-seg"])
    assert f"{tmp_path / 'ct'}: " in capsys.readouterr().err
    assert (tmp_path / "out/ct.nii.gz").exists() and not (tmp_path / "out/ct.seg.dcm").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dicom-seg"], "class names"),
        (["--series", "1.2.3"], "no DICOM folder holds the series '1.2.3'"),
    ],
)
def test_a_mistake_is_said_before_anything_is_done(words, message, tmp_path, config, capsys):
    write_ct(tmp_path / "ct", bright())
    nameless = weights(tmp_path, 0.5, dataset_meta={"classes": ["background"]})
    with pytest.raises(SystemExit) as left:
        main(["predict", config, nameless, str(tmp_path / "ct"), "-o", str(tmp_path / "out"), *words])
    assert left.value.code == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# ---- of whom -------------------------------------------------------------------------------------------------------


def traces(folder: Path) -> dict[str, list[str]]:
    """What of a patient is in the files of a folder, their names included; gzip's are looked into."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        text = content.decode("latin-1") + str(path.relative_to(folder))
        found[path.name] = [trace for trace in TRACES if trace in text]
    return found


def test_nothing_of_a_patient_is_in_any_file_or_message(tmp_path, config, checkpoint, capsys, caplog):
    caplog.set_level(logging.DEBUG)
    write_ct(tmp_path / "ct", bright())
    write_ct(tmp_path / "bad", bright())
    cut = sorted((tmp_path / "bad").iterdir())[0]
    cut.write_bytes(cut.read_bytes()[:-30])
    inputs = [str(tmp_path / "ct"), str(tmp_path / "bad")]
    words = ["--sheets", "--uncertainty", "--ensemble", checkpoint]
    with pytest.raises(SystemExit):
        main(["predict", config, checkpoint, *inputs, *words, "-o", str(tmp_path / "out")])
    found = traces(tmp_path / "out")
    assert set(found) == {"ct.nii.gz", "ct.volumes.json", "ct.png", "labels.json", "volumes.csv"}
    assert not any(found.values())
    said = capsys.readouterr()
    assert not [trace for trace in TRACES if trace in said.out + said.err + caplog.text]
    # A DICOM-SEG must carry the patient of its study: the search finds what is there.
    main(["predict", config, checkpoint, str(tmp_path / "ct"), "-o", str(tmp_path / "seg"), "--dicom-seg"])
    found = traces(tmp_path / "seg")
    assert {"QUICKSILVER", "ANNABEL", "19420713", ROOT} <= set(found.pop("ct.seg.dcm"))
    assert not any(found.values())


# ---- the guides ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["predict", "dicom"])
def test_the_guide_does_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(write_config(tmp_path)).rename("my_config.py")
    Path(weights(tmp_path, 0.5, dataset_meta={"classes": ["background", "box"]})).rename("best_dice.pth")
    write_scan(tmp_path / "scans/case0.nii.gz")
    write_ct(tmp_path / "dicom_folder/ct", bright())
    write_ct(tmp_path / "dicom_folder/ct", bright(6), series="9", number=5)
    text = (Path(__file__).parents[1] / f"docs/{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(bash|python)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    known: dict[str, object] = {}
    for language, block in blocks:
        if language == "python":
            exec(block, known)
        else:
            for line in block.splitlines():
                main(shlex.split(line)[1:])
    if page == "predict":
        assert known["labels"].array.shape == (1, 10, 18, 22) and Path("labels/sheets/case0.png").exists()
    else:
        assert Path("labels/ct.nii.gz").exists()
        assert sorted(path.name for path in Path("labels_of_all").glob("*.dcm")) == ["ct_s4.seg.dcm", "ct_s5.seg.dcm"]


# ---- real scans ----------------------------------------------------------------------------------------------------


def test_a_real_series_without_uids_is_labelled_but_not_referred_to(tmp_path, config, checkpoint, capsys, real_data):
    # Answered on coarse voxels, to be quick; the grid of the answer is the scan's all the same.
    Path(config).write_text(Path(config).read_text().replace("spacing=(1, 0.5, 1)", "spacing=(3, 8, 8)"))
    folder = real_data / "totalsegmentator_test_files/example_ct_dicom"
    main(["predict", config, checkpoint, str(folder), "-o", str(tmp_path / "out")])
    labels = SimpleITK.ReadImage(tmp_path / "out/example_ct_dicom.nii.gz")
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    series = reader.Execute()
    assert labels.GetSize() == series.GetSize() == (512, 512, 20)
    assert labels.GetOrigin() == pytest.approx(series.GetOrigin()) and labels.GetSpacing() == pytest.approx(
        series.GetSpacing()
    )
    with pytest.raises(SystemExit):
        main(["predict", config, checkpoint, str(folder), "-o", str(tmp_path / "seg"), "--dicom-seg"])
    assert "have no StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID, SOPClassUID" in capsys.readouterr().err
