"""``vdt3d predict``: scans go in, labels come out that overlay them; what is done stays, what is bad is named."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch
from levels import weights, write_config, write_scan
from PIL import Image
from test_io_dicom import write_slice

from vdt3d.apis.predictor import Predictor
from vdt3d.cli import main
from vdt3d.io import find_scans, read_label_map, read_volume, write_nifti
from vdt3d.models.weights.files import CheckpointError, write_checkpoint
from vdt3d.structures import Volume


@pytest.fixture
def config(tmp_path: Path) -> str:
    return write_config(tmp_path)


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    return weights(tmp_path, 0.5, dataset_meta={"classes": ["background", "box"], "modality": ["CT"]})


def test_labels_overlay_an_oblique_nifti(tmp_path, config, checkpoint):
    scan = write_scan(tmp_path / "in/scan.nii.gz")
    main(["predict", config, checkpoint, str(tmp_path / "in/scan.nii.gz"), "-o", str(tmp_path / "out")])
    source, labels = (SimpleITK.ReadImage(tmp_path / name) for name in ("in/scan.nii.gz", "out/scan.nii.gz"))
    assert labels.GetOrigin() == source.GetOrigin()
    assert labels.GetDirection() == source.GetDirection()
    assert labels.GetSpacing() == source.GetSpacing()
    assert labels.GetPixelID() == SimpleITK.sitkUInt8
    # z and y were read with twice as many voxels, x with as many: each is interpolated back to where it came from.
    assert np.array_equal(SimpleITK.GetArrayFromImage(labels), scan.array[0] / 100)
    assert json.loads((tmp_path / "out/labels.json").read_text()) == {
        "labels": {"0": "background", "1": "box"},
        "checkpoints": [checkpoint],
    }


def test_labels_overlay_a_dicom_series_and_name_nobody(tmp_path, config, checkpoint, capsys):
    series = tmp_path / "series"
    series.mkdir()
    for place in range(8):  # 3 mm apart; the third to the sixth are bright
        write_slice(series, 3 * place, 100 if 2 <= place < 6 else 0, shape=(8, 12))
    main(["predict", config, checkpoint, str(series), "-o", str(tmp_path / "out")])
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(series / f"1.2.3_{3 * place}.dcm") for place in range(8)])
    source, labels = reader.Execute(), SimpleITK.ReadImage(tmp_path / "out/series.nii.gz")
    assert labels.GetOrigin() == pytest.approx(source.GetOrigin())
    assert labels.GetDirection() == pytest.approx(source.GetDirection())
    assert labels.GetSpacing() == source.GetSpacing() == (1, 2, 3)
    assert SimpleITK.GetArrayFromImage(labels).mean(axis=(1, 2)).tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert b"DOE" not in written and "DOE" not in "".join(capsys.readouterr())


def test_a_bad_scan_is_named_and_the_others_are_done(tmp_path, config, checkpoint, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.nii.gz", "b.nii.gz", "c.nii"):
        write_scan(folder / name)
    SimpleITK.WriteImage(SimpleITK.ReadImage(folder / "a.nii.gz"), folder / "d.mha")
    (folder / "notes.txt").write_text("no scan")
    (folder / "b.nii.gz").write_bytes((folder / "b.nii.gz").read_bytes()[:-30])
    write_scan(folder / "e.nii.gz", value=0)  # CropForeground3D finds nothing in it
    with pytest.raises(SystemExit) as left:
        main(["predict", config, checkpoint, str(folder), "-o", str(out)])
    assert left.value.code == 1
    answers = [f"{name}.{what}" for name in "acd" for what in ("nii.gz", "volumes.json")]
    assert sorted(path.name for path in out.iterdir()) == [*answers, "labels.json", "volumes.csv"]
    first, *lines = capsys.readouterr().err.splitlines()
    assert first == "2 of 5 scans could not be labelled:"
    assert lines[0].startswith(f"  {folder / 'b.nii.gz'}: is truncated or damaged")
    assert lines[1].startswith(f"  {folder / 'e.nii.gz'}: case 'e': no voxel lies above")

    # Mended, it is all that is left to do.
    write_scan(folder / "b.nii.gz")
    (folder / "e.nii.gz").unlink()
    before = (out / "a.nii.gz").stat().st_mtime_ns
    main(["predict", config, checkpoint, str(folder), "-o", str(out)])
    said = capsys.readouterr().out
    assert "3 of 4 scans are in" in said and "1 label maps were written" in said
    assert (out / "a.nii.gz").stat().st_mtime_ns == before
    main(["predict", config, checkpoint, str(folder), "-o", str(out), "--overwrite"])
    assert (out / "a.nii.gz").stat().st_mtime_ns > before


def test_other_checkpoints_do_not_mix_with_what_is_there(tmp_path, config, checkpoint, capsys):
    scans = [tmp_path / "in/a.nii.gz", tmp_path / "in/b.nii.gz"]
    for path in scans:
        write_scan(path)
    command = ["predict", config, checkpoint, str(scans[0]), "-o", str(tmp_path / "out")]
    main(command)
    with pytest.raises(SystemExit):
        main(["predict", config, weights(tmp_path, 0.7), str(scans[1]), *command[4:]])
    assert "labels.json is of other checkpoints" in capsys.readouterr().err


def test_an_ensemble_decides_by_the_mean_probability(tmp_path, config):
    # Levels of 0.2 and 2.2: a brightness of 1 leads by 2 * 0.8 in the first model, whose probability is
    # 1 / (1 + exp(-1.6)) = 0.83, and by 2 * -1.2 in the second: 0.08. The mean, 0.46, says no; 0.2 and 1.4 say
    # 0.83 and 0.31, mean 0.57: yes.
    scan = write_scan(tmp_path / "in/a.nii.gz")
    middle = (0, 5, 8, 11)  # of the box, where no interpolation shows
    for level, found in ((2.2, 0), (1.4, 1)):
        one, other = weights(tmp_path, 0.2), weights(tmp_path, level)
        assert Predictor(config, [one, other], device="cpu")(scan).array[middle] == found
        out = tmp_path / f"{level}"
        main(["predict", config, one, str(tmp_path / "in"), "-o", str(out), "--ensemble", other])
        assert read_label_map(out / "a.nii.gz").array[middle] == found


def test_the_options_of_the_test_data_set_read_the_scan(tmp_path, config, checkpoint):
    array = np.full((2, 4, 4, 4), np.nan, np.float32)
    write_nifti(Volume(array), tmp_path / "two.nii.gz")
    predictor = Predictor(config, checkpoint, device="cpu")
    assert predictor.classes == ("background", "box") and predictor.channels == 1
    with pytest.raises(ValueError, match=r"two\.nii\.gz: holds 2 channels"):
        predictor.read(tmp_path / "two.nii.gz")
    both = weights(tmp_path, 0.1, dataset_meta={"classes": ["background", "box"], "modality": ["T1", "T2"]})
    volume = Predictor(config, both, device="cpu").read(tmp_path / "two.nii.gz")
    assert volume.channels == 2 and not volume.array.any()


def test_the_channels_of_a_scan_may_lie_in_a_file_each(tmp_path, config, capsys):
    both = weights(tmp_path, 0.1, dataset_meta={"classes": ["background", "box"], "modality": ["T1", "T2"]})
    folder, out = tmp_path / "imagesTs", tmp_path / "out"
    for name in ("a_0000.nii.gz", "a_0001.nii.gz", "b_0000.nii.gz"):
        write_scan(folder / name)
    write_scan(folder / "b_0001.nii.gz", value=50)
    main(["predict", config, both, str(folder), "-o", str(out)])
    assert sorted(path.name for path in out.glob("*.nii.gz")) == ["a.nii.gz", "b.nii.gz"]
    volume = Predictor(config, both, device="cpu").read(folder / "b_0000.nii.gz")
    assert volume.array.max(axis=(1, 2, 3)).tolist() == [100, 50]
    # On other grids they are no channels of one scan.
    write_nifti(Volume(np.zeros((1, 3, 4, 5))), folder / "b_0001.nii.gz")
    with pytest.raises(SystemExit):
        main(["predict", config, both, str(folder), "-o", str(out), "--overwrite"])
    said = capsys.readouterr().err
    assert "1 of 2 scans could not be labelled" in said and "b_0001.nii.gz: its grid" in said


def test_numbered_files_are_channels_only_where_their_number_fits(tmp_path):
    def found(channels: int, *names: str) -> dict[str, str]:
        paths = [tmp_path / name for name in names]
        for path in paths:
            path.touch()
        scans = {name: path.name for name, path in find_scans([tmp_path], channels=channels).items()}
        for path in paths:
            path.unlink()
        return scans

    two = ("a_0000.nrrd", "a_0001.nrrd")
    assert found(1, *two) == {"a_0000": two[0], "a_0001": two[1]}  # one channel: two scans
    assert found(2, *two, "b.nrrd") == {"a": two[0], "b": "b.nrrd"}  # b holds both
    assert found(2, *two, "a_0002.nrrd").keys() == {"a_0000", "a_0001", "a_0002"}  # numbers of scans
    assert found(3, "a_0000.nrrd", "a_0002.nrrd") == {"a": "a_0000.nrrd"}  # the missing one is named by reading
    with pytest.raises(ValueError, match=r"would both become a\.nii\.gz"):
        found(2, *two, "a.nrrd")


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, config):
    write_checkpoint({"state_dict": {"height": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth"):
        Predictor(config, str(tmp_path / "other.pth"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["in/a.nii.gz", "in/a.mha"], "would both become a.nii.gz"),
        (["in", "in/a.nii"], "would both become a.nii.gz"),
        (["in/a.nii.gz", "--cfg-options", "test_dataloader=none"], "no test_dataloader"),
    ],
)
def test_a_mistake_is_said_before_anything_is_done(words, message, tmp_path, config, checkpoint, capsys):
    write_scan(tmp_path / "in/a.nii.gz")
    words = [str(tmp_path / word) if word.startswith("in") else word for word in words]
    with pytest.raises(SystemExit) as left:
        main(["predict", config, checkpoint, *words, "-o", str(tmp_path / "out")])
    assert left.value.code == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_pipeline_that_labels_no_voxels_is_refused(tmp_path, config, checkpoint):
    predictor = Predictor(config, checkpoint, device="cpu")
    predictor.pipeline.pop()
    with pytest.raises(ValueError, match="does not end in PackSegmentation"):
        predictor(write_scan(tmp_path / "in/a.nii.gz"))


def test_an_empty_folder_holds_no_series(tmp_path, config, checkpoint, capsys):
    empty, absent = tmp_path / "empty", tmp_path / "no.nii"
    empty.mkdir()
    with pytest.raises(SystemExit) as left:
        main(["predict", config, checkpoint, str(empty), str(absent), "-o", str(tmp_path / "out")])
    assert left.value.code == 1
    said = capsys.readouterr().err
    assert f"{empty}: is a folder without DICOM slices" in said
    assert f"{absent}: does not exist" in said


def test_the_one_series_of_several_is_chosen(tmp_path, config, checkpoint):
    for series, values in (("1.2.3", (0, 100, 100, 0)), ("1.2.4", (100, 0, 0, 0))):
        for place, value in enumerate(values):
            write_slice(tmp_path, place, value, series=series, shape=(8, 12))
    main(["predict", config, checkpoint, str(tmp_path), "-o", str(tmp_path / "out"), "--series", "1.2.4"])
    labels = read_label_map(tmp_path / f"out/{tmp_path.name}.nii.gz")
    assert labels.array[0, :, 0, 0].tolist() == [1, 0, 0, 0]
    assert labels.same_grid(read_volume(tmp_path, series="1.2.4"))


def write_slices(folder: Path, *bright: bool) -> Path:
    """Slices of 8 x 6 pixels, 3 mm apart, all of whose pixels are 100 or 0."""
    folder.mkdir(parents=True)
    for number, is_bright in enumerate(bright, start=1):
        plane = np.full((8, 6), 100 if is_bright else 0, np.uint16)
        Image.fromarray(plane).save(folder / f"slice_{number:04d}_6_8_1.50_2.00.png")
    return folder


def test_slices_of_a_challenge_are_called_as_their_case_day(tmp_path, config, checkpoint):
    scans = write_slices(tmp_path / "gi/train/case2/case2_day0/scans", False, True, True, False)
    write_slices(tmp_path / "gi/train/case2/case2_day1/scans", True, False, False, False)
    for number, given in enumerate((scans, scans.parent)):
        main(["predict", config, checkpoint, str(given), "-o", str(tmp_path / str(number))])
        labels = read_label_map(tmp_path / str(number) / "case2_day0.nii.gz")
        assert labels.spacing == pytest.approx((3, 2, 1.5)) and labels.shape == (4, 8, 6)
        assert labels.array.mean(axis=(0, 2, 3)).tolist() == [0, 1, 1, 0]
        assert labels.same_grid(read_volume(scans))


def test_a_tree_of_slices_stands_for_all_its_case_days(tmp_path, monkeypatch):
    days = [
        write_slices(tmp_path / f"gi/train/{name.partition('_')[0]}/{name}/scans", True)
        for name in ("case2_day0", "case2_day13", "case9_day1")
    ]
    names = [path.parent.name for path in days]
    for given in (tmp_path / "gi", tmp_path / "gi/train"):
        assert find_scans([given]) == dict(zip(names, days, strict=True))
    assert list(find_scans([tmp_path / "gi/train/case2"])) == names[:2]
    monkeypatch.chdir(days[1])
    assert list(find_scans([Path()])) == ["case2_day13"]
    plain = write_slices(tmp_path / "plain", True)
    assert find_scans([plain]) == {"plain": plain}
    series = tmp_path / "scans"  # of DICOM, say
    series.mkdir()
    assert find_scans([series]) == {"scans": series}
