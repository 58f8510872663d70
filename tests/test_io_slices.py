"""Folders of pictures, a slice each: their order, their values to the bit, and only those opened that are asked for."""

import pickle

import numpy as np
import pytest
from PIL import Image
from test_io_dicom import write_slice

from vdt3d.io import ScanError, SliceStack, find_slices, open_slices, read_label_map, read_volume, slices

CHALLENGE = "slice_{:04d}_5_4_1.50_1.25.png"  # 5 wide, 4 high, 1.5 mm along x, 1.25 along y


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def names(paths):
    return [path.name for path in paths]


@pytest.fixture
def folder(tmp_path):
    """Slices 1 to 9, written in no order, whose pixel (z, y, x) has the value 7000 z + 10 y + x: more than int16."""
    home = tmp_path / "scans"
    for number in (3, 9, 1, 2, 7, 8, 4, 6, 5):
        write(home / CHALLENGE.format(number), ramp()[number - 1])
    return home


def ramp():
    z, y, x = np.indices((9, 4, 5))
    return (7000 * (z + 1) + 10 * y + x).astype(np.uint16)


@pytest.fixture
def opened(monkeypatch):
    """The names of the pictures that are opened, in order."""
    found, really_read = [], slices.read_picture

    def noted(path):
        found.append(path.name)
        return really_read(path)

    monkeypatch.setattr(slices, "read_picture", noted)
    return found


def test_slices_come_in_the_order_of_their_numbers(tmp_path):
    for name in ("img_12.png", "img_9.png", "img_10.png", "img_011.png", "._img_9.png", "notes.txt"):
        (tmp_path / name).touch()
    assert names(find_slices(tmp_path)) == ["img_9.png", "img_10.png", "img_011.png", "img_12.png"]


@pytest.mark.parametrize(
    ("name", "number", "size", "spacing"),
    [
        ("slice_0001_360_310_1.50_1.63.png", 1, (310, 360), (1.63, 1.5)),  # width before height, x before y
        ("case7_day2_slice_0144_266_276_2_1.5.png", 144, (276, 266), (1.5, 2.0)),
        ("case7_day2_slice_0093.png", 93, None, None),
        ("img_12.png", 12, None, None),
        ("2024-ax007b.png", 7, None, None),
    ],
)
def test_a_name_is_taken_apart(name, number, size, spacing):
    assert slices.slice_name(name) == (number, size, spacing)


def test_a_pattern_chooses_the_slices(tmp_path):
    for name in ("scan_1.png", "scan_2.png", "mask_1.png", "mask_2.png"):
        write(tmp_path / name, np.full((2, 2), 1 if name.startswith("mask") else 9, np.uint8))
    assert names(find_slices(tmp_path, "scan_*")) == ["scan_1.png", "scan_2.png"]
    assert (np.asarray(open_slices(tmp_path, pattern="mask_*").array) == 1).all()


def test_the_values_are_those_of_the_files_to_the_bit(folder):
    volume = open_slices(folder)
    assert (volume.array.shape, volume.array.ndim, volume.array.dtype) == ((1, 9, 4, 5), 4, np.uint16)
    assert volume.shape == (9, 4, 5) and volume.spacing == (3.0, 1.25, 1.5)
    assert volume.array.numbers == tuple(range(1, 10))
    assert np.array_equal(np.asarray(volume.array), ramp()[None])
    assert np.asarray(volume.array).max() == 7000 * 9 + 30 + 4  # beyond int16
    assert np.asarray(volume.array, dtype=np.float32).dtype == np.float32


def test_only_the_slices_asked_for_are_opened(folder, opened):
    array = open_slices(folder).array
    assert opened == [CHALLENGE.format(1)]  # for size and type
    opened.clear()
    part = array[:, 4:7, 1:, :3]
    assert opened == [CHALLENGE.format(number) for number in (5, 6, 7)]
    assert np.array_equal(part, ramp()[None, 4:7, 1:, :3])
    opened.clear()
    assert np.array_equal(array[:, 2:9:3], ramp()[None, 2:9:3])
    assert opened == [CHALLENGE.format(number) for number in (3, 6, 9)]


def test_slices_are_cut_as_numpy_would(folder):
    array = open_slices(folder).array
    for index in (
        np.s_[:],
        np.s_[0:1],
        np.s_[:, 3:3],
        np.s_[:, -2:],
        np.s_[:, 7:20],
        np.s_[1:],
        np.s_[:, :2, ::2, 1::3],
    ):
        assert array[index].shape == ramp()[None][index].shape
        assert np.array_equal(array[index], ramp()[None][index])
    for index in (np.s_[0], np.s_[:, ::-1], np.s_[..., 0], np.s_[:, :, :, :, :]):
        with pytest.raises(IndexError, match=r"scans is read in forward slices.*numpy.asarray reads all"):
            array[index]


def test_only_the_path_travels_to_another_process(folder):
    array = open_slices(folder).array
    content = pickle.dumps(array)
    assert len(content) < 300
    back = pickle.loads(content)
    assert isinstance(back, SliceStack) and np.array_equal(back[:, 3:5], array[:, 3:5])


def test_other_names_take_the_spacing_that_is_given(tmp_path):
    for number in (0, 1):
        write(tmp_path / f"{number}.png", np.zeros((2, 3), np.uint8))
    assert open_slices(tmp_path).spacing == (1, 1, 1)
    assert open_slices(tmp_path, spacing=(5.0, 0.5, 0.25)).spacing == (5, 0.5, 0.25)
    with pytest.raises(ValueError, match="three positive numbers"):
        open_slices(tmp_path, spacing=(5.0, 0.5, 0.0))


def test_names_that_state_the_spacing_leave_the_thickness(folder):
    assert open_slices(folder, thickness=2.5).spacing == (2.5, 1.25, 1.5)
    with pytest.raises(ScanError, match=r"scans: its names state a spacing of 1.25 x 1.5 mm.*; leave spacing out"):
        open_slices(folder, spacing=(3.0, 1.0, 1.0))


def test_a_folder_of_pictures_is_read_as_any_volume(folder):
    volume = read_volume(folder)
    assert volume.array.dtype == np.float32 and np.array_equal(volume.array, ramp()[None])
    assert volume.spacing == (3.0, 1.25, 1.5)


@pytest.mark.parametrize("suffix", [".PNG", ".jpg"])
def test_a_folder_of_other_pictures_too(tmp_path, suffix):
    for number in (1, 2):
        write(tmp_path / f"{number}{suffix}", np.full((8, 8), 40 * number, np.uint8))
    volume = read_volume(tmp_path, spacing=(2.0, 1.0, 1.0))
    assert volume.spacing == (2, 1, 1)
    assert volume.array[0, :, 0, 0].tolist() == [40, 80]


def test_a_folder_of_labels_is_a_label_map(tmp_path):
    for number, label in ((1, 5), (2, 0)):
        write(tmp_path / f"slice_{number:04d}.png", np.full((2, 3), label, np.uint8))
    label_map = read_label_map(tmp_path)
    assert label_map.array.dtype == np.uint8 and label_map.array[0, :, 1, 2].tolist() == [5, 0]


def test_a_folder_with_dicom_stays_a_dicom_folder(tmp_path):
    for z in (30, 33):
        write_slice(tmp_path, z)
    write(tmp_path / "preview_1.png", np.zeros((2, 2), np.uint8))
    assert read_volume(tmp_path).array[0, :, 0, 0].tolist() == [30, 33]


def refused(folder, finding, remedy, **options):
    """As a whole or, of what shows only then, when all slices are read."""
    with pytest.raises(ScanError, match=f"{finding}.*; .*{remedy}"):
        np.asarray(open_slices(folder, **options).array)


def test_a_hole_in_the_numbers_names_what_is_missing(folder):
    for number in (2, 5, 6, 7):
        (folder / CHALLENGE.format(number)).unlink()
    refused(folder, "scans: of slices 1 to 9 it lacks 2, 5 to 7", "fetch them again")


def test_two_slices_of_one_number_are_named(folder):
    write(folder / "slice_0004.png", ramp()[3])
    finding = "slice_0004.png and slice_0004_5_4_1.50_1.25.png are both slice 4"
    refused(folder, finding, "remove one of them")


@pytest.mark.parametrize(
    ("other", "finding"),
    [
        ("slice_0010_5_4_1.50_1.50.png", "state different sizes or spacings"),
        ("slice_0010_4_5_1.50_1.25.png", "state different sizes or spacings"),
        ("slice_0010.png", "state different sizes or spacings"),
        ("overview.png", "overview.png: has no number in its name"),
        ("slice_0010_5_4_0.00_1.50.png", "states a size or a spacing of 0"),
    ],
)
def test_names_that_do_not_go_together(folder, other, finding, opened):
    write(folder / other, ramp()[0])
    with pytest.raises(ScanError, match=finding):
        open_slices(folder)
    assert opened == []


@pytest.mark.parametrize("shape", [(5, 4), (4, 6)], ids=["width and height swapped", "too wide"])
@pytest.mark.parametrize("number", [1, 6])
def test_a_picture_that_is_not_as_its_name_says(folder, shape, number):
    write(folder / CHALLENGE.format(number), np.zeros(shape, np.uint16))
    finding = f"slice_000{number}_.*is {shape[1]} x {shape[0]} pixels, where its name states 5 x 4"
    refused(folder, finding, "width before height")


def test_a_slice_of_another_type_or_size_shows_when_it_is_read(tmp_path):
    write(tmp_path / "1.png", np.zeros((2, 3), np.uint16))
    write(tmp_path / "2.png", np.zeros((2, 3), np.uint8))
    finding = "2.png: is a picture of 3 x 2 uint8, 1.png one of 3 x 2 uint16"
    refused(tmp_path, finding, "folders of their own")
    assert open_slices(tmp_path).array[:, :1].shape == (1, 1, 2, 3)
    write(tmp_path / "2.png", np.zeros((3, 2), np.uint16))
    refused(tmp_path, "2.png: is a picture of 2 x 3 uint16", "folders of their own")


def test_colours_are_refused(tmp_path):
    write(tmp_path / "1.png", np.zeros((2, 3, 3), np.uint8))
    refused(tmp_path, "1.png: is a picture of 3 colours", "save the slices as grey")


@pytest.mark.parametrize("content", [b"", b"<html>", None], ids=["empty", "no picture", "truncated"])
@pytest.mark.parametrize("number", [1, 6])
def test_a_damaged_picture_is_named(folder, content, number):
    path = folder / CHALLENGE.format(number)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"IDAT") + 10] if content is None else content)
    refused(folder, f"{path.name}: cannot be read as a picture", "copy or download it again")


def test_what_is_no_folder_of_slices(tmp_path):
    refused(tmp_path / "away", "away: is not a folder", "give the one that holds the slices")
    refused(tmp_path, r"holds no slices '\*.png'", "check the path")
    for name in ("1.png", "2.jpg"):
        write(tmp_path / name, np.zeros((2, 2), np.uint8))
    with pytest.raises(ScanError, match=r"pictures of several kinds \(.jpg, .png\); keep those of one kind"):
        read_volume(tmp_path)


def test_a_series_is_none_of_pictures(folder):
    with pytest.raises(ScanError, match="knows no series"):
        read_volume(folder, series="1.2.3")


def test_an_original_slice(real_data, tmp_path):
    source = real_data / "uwm_gi_tract_samples/original_16bit/slice_0001.png"
    (tmp_path / "slice_0001_266_266_1.50_1.50.png").write_bytes(source.read_bytes())
    array = np.asarray(open_slices(tmp_path).array)
    assert (array.dtype, array.shape, array.min(), array.max()) == (np.uint16, (1, 1, 266, 266), 0, 125)


def test_a_damaged_checksum_is_seen(tmp_path):
    """Pillow reads such a picture without a word, though its pixels may be wrong."""
    path = tmp_path / "slice_1.png"
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8)).save(path)
    damaged = bytearray(path.read_bytes())
    damaged[-14] ^= 1  # in the checksum of the pixels; the last chunk, of 12 bytes, is the end mark
    path.write_bytes(damaged)
    with pytest.raises(ScanError, match="cannot be read as a picture"):
        np.asarray(open_slices(tmp_path).array)


def test_the_thickness_of_slices_may_be_told(tmp_path):
    for number in (1, 2):
        Image.fromarray(np.zeros((4, 5), np.uint16)).save(tmp_path / f"slice_{number:04d}_5_4_1.50_1.25.png")
    assert read_volume(tmp_path, thickness=2.5).spacing == pytest.approx((2.5, 1.25, 1.5))
    with pytest.raises(ScanError, match="knows no thickness"):
        read_volume(tmp_path / "slice_0001_5_4_1.50_1.25.png", thickness=2.5)
