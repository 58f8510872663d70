"""Scans in every format: where a voxel lies in the world, what its value is, and what comes back after writing."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from vdt3d.io import ScanError, ScanWarning, list_series, read_label_map, read_volume, write_nifti
from vdt3d.structures import LabelMap, Volume

# columns of the array's axes z, y, x; a quarter turn about the head's axis, 3 x 2 x 1 mm
AFFINE = np.array([[0.0, 2.0, 0.0, 10.0], [0.0, 0.0, -1.0, 20.0], [3.0, 0.0, 0.0, 30.0], [0.0, 0.0, 0.0, 1.0]])
COUNTED = np.arange(2 * 3 * 4, dtype=np.float32).reshape(1, 2, 3, 4)


def world(volume, z, y, x):
    return (volume.affine @ [z, y, x, 1])[:3].tolist()


def itk_image(array):
    """``array`` (z, y, x) where AFFINE places it; SimpleITK counts x, y, z and points left and backwards."""
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing((1, 2, 3))
    image.SetOrigin((-10, -20, 30))
    image.SetDirection((0, -1, 0, 1, 0, 0, 0, 0, 1))
    return image


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_a_volume_comes_back_from_nifti_as_it_was(tmp_path, name):
    write_nifti(Volume(COUNTED, AFFINE), tmp_path / name)
    volume = read_volume(tmp_path / name)
    assert np.array_equal(volume.array, COUNTED) and volume.array.dtype == np.float32
    assert np.array_equal(volume.affine, AFFINE)
    assert world(volume, 1, 2, 3) == [10 + 2 * 2, 20 - 3, 30 + 3]
    assert [path.name for path in tmp_path.iterdir()] == [name]  # nothing is left beside it


def test_nibabel_sees_the_same_voxel_at_the_same_place(tmp_path):
    write_nifti(Volume(COUNTED, AFFINE), tmp_path / "scan.nii")
    image = nib.load(tmp_path / "scan.nii")
    assert image.get_fdata()[3, 2, 1] == COUNTED[0, 1, 2, 3]
    assert (image.affine @ [3, 2, 1, 1])[:3].tolist() == [14, 17, 33]


@pytest.mark.parametrize("name", ["scan.nrrd", "scan.nhdr", "scan.mha", "scan.mhd"])
@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "compressed"])
def test_nrrd_and_metaimage_place_a_voxel_where_nifti_does(tmp_path, name, compressed):
    SimpleITK.WriteImage(itk_image(COUNTED[0]), tmp_path / name, useCompression=compressed)
    volume = read_volume(tmp_path / name)
    assert np.array_equal(volume.array, COUNTED)
    assert volume.affine == pytest.approx(AFFINE)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.int64, np.float64])
@pytest.mark.parametrize("name", ["scan.nrrd", "scan.mha"])
def test_every_number_type_of_simpleitk_is_read(tmp_path, name, dtype):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(COUNTED[0].astype(dtype)), tmp_path / name)
    assert np.array_equal(read_volume(tmp_path / name).array, COUNTED)


def test_slope_and_intercept_are_applied(tmp_path):
    image = nib.Nifti1Image(np.array([[[0, 1, 1000]]], np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, -10)
    raw = bytearray(image.to_bytes())
    raw[112:120] = np.array([0.5, -10], "<f4").tobytes()  # nibabel would rescale the voxels to fit
    (tmp_path / "scan.nii").write_bytes(raw)
    assert read_volume(tmp_path / "scan.nii").array.ravel().tolist() == [-10, -9.5, 490]


def test_without_sform_and_qform_the_spacing_counts(tmp_path):
    image = nib.Nifti1Image(np.zeros((4, 3, 2), np.int16), None)
    image.header.set_zooms((1, 2, 3))
    nib.save(image, tmp_path / "scan.nii")
    with pytest.warns(ScanWarning, match="scan.nii: .*codes 0"):
        volume = read_volume(tmp_path / "scan.nii")
    assert volume.spacing == (3, 2, 1) and world(volume, 1, 1, 1) == [-1, -2, 3]  # left, posterior, superior, as in ITK


def test_the_qform_counts_where_there_is_no_sform(tmp_path):
    image = nib.Nifti1Image(COUNTED[0].T, None)
    image.set_qform(AFFINE[:, [2, 1, 0, 3]], code=1)
    nib.save(image, tmp_path / "scan.nii")
    assert read_volume(tmp_path / "scan.nii").affine == pytest.approx(AFFINE, abs=1e-5)


@pytest.mark.parametrize(("unit", "length"), [("unknown", 2), ("mm", 2), ("meter", 2000), ("micron", 0.002)])
def test_every_unit_of_length_comes_to_millimetres(tmp_path, unit, length):
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.diag([2, 2, 2, 1]))
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "scan.nii")
    volume = read_volume(tmp_path / "scan.nii")
    assert volume.spacing == pytest.approx((length,) * 3)


def nrrd(unit):
    units = " ".join([f'"{unit}"'] * 3)
    header = f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nspacings: 2 2 2\nunits: {units}\nencoding: raw\n\n"
    return header.encode() + bytes(8)


def metaimage(unit):
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nElementSpacing = 2 2 2\nOffset = 2 0 0\nDimSize = 2 2 2\n"
    )
    return f"{header}DistanceUnits = {unit}\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n".encode() + bytes(8)


@pytest.mark.parametrize(("unit", "length"), [("", 2), ("mm", 2), ("cm", 20), ("m", 2000), ("um", 0.002), ("?", 2)])
def test_nrrd_and_metaimage_come_to_millimetres(tmp_path, unit, length):
    (tmp_path / "scan.nrrd").write_bytes(nrrd(unit))
    (tmp_path / "scan.mha").write_bytes(metaimage(unit))
    volumes = [read_volume(tmp_path / name) for name in ("scan.nrrd", "scan.mha")]
    assert [volume.spacing for volume in volumes] == [pytest.approx((length,) * 3)] * 2
    assert volumes[1].affine[0, 3] == pytest.approx(-length)  # the origin is 2 to the left


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", ">f4", "<f8"])
def test_either_nifti_and_either_byte_order_is_read(tmp_path, kind, dtype):
    header = kind.header_class(endianness=dtype[0])
    nib.save(kind(COUNTED[0].T.astype(dtype), AFFINE[:, [2, 1, 0, 3]], header, dtype=dtype[1:]), tmp_path / "scan.nii")
    volume = read_volume(tmp_path / "scan.nii")
    assert np.array_equal(volume.array, COUNTED) and np.array_equal(volume.affine, AFFINE)


def test_a_declared_fourth_axis_becomes_channels(tmp_path):
    four = np.arange(4 * 2 * 2 * 2, dtype=np.float32).reshape(4, 2, 2, 2)
    write_nifti(Volume(four), tmp_path / "scan.nii.gz")
    assert nib.load(tmp_path / "scan.nii.gz").shape == (2, 2, 2, 4)
    np.save(tmp_path / "scan.npy", four)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(four, isVector=False), tmp_path / "scan.nrrd")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.moveaxis(four, 0, -1), isVector=True), tmp_path / "scan.mha")
    for path in tmp_path.iterdir():
        assert np.array_equal(read_volume(path, channels=4).array, four), path.name


def test_trailing_axes_of_one_are_no_channels(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((4, 3, 2, 1, 1), np.int16), np.eye(4)), tmp_path / "scan.nii")
    assert read_volume(tmp_path / "scan.nii").array.shape == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("highest", "dtype"), [(1, np.uint8), (255, np.uint8), (256, np.uint16), (65536, np.uint32)], ids=str
)
def test_labels_are_written_in_the_smallest_integer_type(tmp_path, highest, dtype):
    array = np.zeros((1, 2, 2, 2), np.int64)
    array[0, 1, 1, 0] = highest
    write_nifti(LabelMap(array), tmp_path / "labels.nii.gz")
    assert nib.load(tmp_path / "labels.nii.gz").get_data_dtype() == dtype
    label_map = read_label_map(tmp_path / "labels.nii.gz")
    assert np.array_equal(label_map.array, array) and label_map.array.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.filterwarnings("error")
def test_whole_numbers_stored_as_floats_are_labels(tmp_path, dtype):
    np.save(tmp_path / "labels.npy", COUNTED[0].astype(dtype))
    label_map = read_label_map(tmp_path / "labels.npy")
    assert label_map.array.dtype == np.uint8 and np.array_equal(label_map.array, COUNTED)


@pytest.mark.parametrize(("top", "dtype"), [(1, np.uint8), (7, np.uint8), (7, np.int16), (104, np.int8)])
def test_labels_that_nibabel_stored_with_a_slope_are_whole_again(tmp_path, top, dtype):
    labels = np.arange(24).reshape(4, 3, 2) % (top + 1) * 1.0
    labels[0, 0, 0] = top
    image = nib.Nifti1Image(labels, np.eye(4))
    image.set_data_dtype(dtype)  # floats are spread over its range: 7 becomes 255 times 7 / 255
    nib.save(image, tmp_path / "labels.nii")
    assert nib.load(tmp_path / "labels.nii").dataobj.slope != 1
    assert np.array_equal(read_label_map(tmp_path / "labels.nii").array[0].T, labels)


@pytest.mark.parametrize(("top", "dtype"), [(0.7, np.uint8), (0.7, np.int16), (1000, np.uint8)])
def test_a_slope_makes_no_labels_of_soft_or_lost_ones(tmp_path, top, dtype):
    image = nib.Nifti1Image(np.linspace(0, top, 24).round(1).reshape(4, 3, 2), np.eye(4))
    image.set_data_dtype(dtype)
    nib.save(image, tmp_path / "labels.nii")
    with pytest.raises(ScanError, match=r"labels.nii: \d+ of 24 voxels"):
        read_label_map(tmp_path / "labels.nii")


def test_nan_becomes_zero_where_that_is_declared(tmp_path):
    write_nifti(Volume(np.array([1, np.nan, np.inf, 2], np.float32).reshape(1, 1, 2, 2)), tmp_path / "scan.nii")
    assert read_volume(tmp_path / "scan.nii", nan="zero").array.ravel().tolist() == [1, 0, 0, 2]


def test_arrays_take_key_and_spacing(tmp_path):
    np.savez(tmp_path / "crop.npz", voxel=COUNTED[0].astype(np.uint8), seg=COUNTED[0] > 3)
    volume = read_volume(tmp_path / "crop.npz", key="voxel", spacing=(3.0, 2.0, 1.0))
    label_map = read_label_map(tmp_path / "crop.npz", key="seg", spacing=(3.0, 2.0, 1.0))
    assert np.array_equal(volume.array, COUNTED) and volume.spacing == (3, 2, 1)
    assert label_map.array.sum() == 20 and volume.same_grid(label_map)


def test_the_only_array_needs_no_key(tmp_path):
    np.savez_compressed(tmp_path / "crop.npz", voxel=COUNTED[0])
    assert np.array_equal(read_volume(tmp_path / "crop.npz").array, COUNTED)


def test_pictures_are_volumes_of_one_slice(tmp_path):
    grey = np.array([[0, 1, 60000], [3, 4, 5]], np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    colour = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    Image.fromarray(colour).save(tmp_path / "colour.png")
    assert np.array_equal(read_volume(tmp_path / "grey.png").array, grey[None, None])
    assert np.array_equal(read_volume(tmp_path / "colour.png", channels=3).array[:, 0], np.moveaxis(colour, -1, 0))


def test_a_sheared_volume_is_resampled_to_right_angles(tmp_path):
    # axes z, y, x: a step up is also a step forward, so that each slice stands one voxel further on (45 degrees)
    affine = np.array([[0.0, 0.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    array = np.full((1, 2, 3, 2), 7, np.uint8)
    write_nifti(LabelMap(array, affine), tmp_path / "tilted.nii.gz")
    label_map = read_label_map(tmp_path / "tilted.nii.gz", shear="resample")
    assert label_map.array[0, :, :, 0].tolist() == [[7, 7, 7, 0], [0, 7, 7, 7]]
    assert label_map.affine == pytest.approx(Volume(array).affine)
    volume = read_volume(tmp_path / "tilted.nii.gz", shear="resample")
    assert (volume.array == 7).all()  # images are filled with their minimum, which is 7 here


def test_resampling_keeps_every_voxel_of_a_tilted_flipped_volume_in_its_place(tmp_path):
    affine = AFFINE.copy()
    affine[0, 0] = 4.0  # a slice up is also two voxels along y (2 mm each): every voxel meets one of the new grid
    write_nifti(LabelMap(COUNTED.astype(np.uint8) + 1, affine), tmp_path / "tilted.nii.gz")
    label_map = read_label_map(tmp_path / "tilted.nii.gz", shear="resample")
    assert label_map.shape == (2, 5, 4) and label_map.spacing == pytest.approx((3, 2, 1))
    for value in (1, 8, 24):
        old = np.argwhere(COUNTED[0] + 1 == value)[0]
        new = np.argwhere(label_map.array[0] == value)
        assert len(new) == 1
        assert label_map.affine @ [*new[0], 1] == pytest.approx(affine @ [*old, 1])


def test_a_volume_may_be_writable(tmp_path):
    write_nifti(Volume(COUNTED), tmp_path / "scan.nii")
    np.save(tmp_path / "scan.npy", COUNTED)
    for name in ("scan.nii", "scan.npy"):
        read_volume(tmp_path / name).array[0, 0, 0, 0] = 5


def test_writing_refuses_another_suffix_and_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"scan.nrrd: a NIfTI file ends in .nii or .nii.gz"):
        write_nifti(Volume(COUNTED), tmp_path / "scan.nrrd")
    write_nifti(Volume(COUNTED), tmp_path / "scan.nii")

    def full_disk(image, path):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(nib, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_nifti(Volume(COUNTED + 1), tmp_path / "scan.nii")
    assert np.array_equal(read_volume(tmp_path / "scan.nii").array, COUNTED)
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii"]


class TestRealScans:
    """Files as scanners and other programs wrote them."""

    def test_an_oblique_scan_keeps_its_affine(self, real_data):
        path = real_data / "niivue_images/CT_pitch.nii.gz"
        volume, image = read_volume(path), nib.load(path)
        assert volume.shape == (58, 248, 175) and volume.spacing == pytest.approx((2.397, 0.813, 0.812), abs=1e-3)
        assert np.array_equal(volume.affine[:, [2, 1, 0, 3]], image.affine)
        assert np.abs(volume.affine[1, 0]) > 0.1  # it is oblique
        assert np.array_equal(volume.array[0].T, image.get_fdata())

    def test_an_oblique_scan_survives_writing(self, real_data, tmp_path):
        volume = read_volume(real_data / "niivue_images/CT_pitch.nii.gz")
        write_nifti(volume, tmp_path / "scan.nii.gz")
        again = read_volume(tmp_path / "scan.nii.gz")
        assert np.array_equal(again.affine, volume.affine) and np.array_equal(again.array, volume.array)

    def test_scaled_voxels_are_those_of_nibabel(self, real_data):
        path = real_data / "niivue_images/CT_AVM.nii.gz"
        np.testing.assert_allclose(read_volume(path).array[0].T, nib.load(path).get_fdata(), rtol=1e-6)

    def test_nrrd_and_its_nifti_copy_are_one(self, real_data, tmp_path):
        path = real_data / "pyradiomics_test_data/brain1_image.nrrd"
        volume = read_volume(path)
        SimpleITK.WriteImage(SimpleITK.ReadImage(path), tmp_path / "copy.nii.gz")
        copy = read_volume(tmp_path / "copy.nii.gz")
        assert volume.spacing == pytest.approx((6.5, 0.78125, 0.78125))
        assert np.array_equal(volume.array, copy.array) and volume.same_grid(copy)
        assert volume.same_grid(read_label_map(real_data / "pyradiomics_test_data/brain1_label.nrrd"))

    def test_a_dicom_series_is_part_of_the_nifti_made_of_it(self, real_data):
        series = read_volume(real_data / "chaos_ct_liver/dicom_24")
        whole = read_volume(real_data / "chaos_ct_liver/ct.nii.gz")
        first = round((series.affine[2, 3] - whole.affine[2, 3]) / 2)  # slices are 2 mm apart
        assert np.array_equal(series.array, whole.array[:, first : first + 24])

    def test_compressed_dicom_without_uids_lies_on_its_label_map(self, real_data):
        folder = real_data / "totalsegmentator_test_files"
        assert [len(facts.files) for facts in list_series(folder / "example_ct_dicom").values()] == [20]
        series = read_volume(folder / "example_ct_dicom")
        label_map = read_label_map(folder / "example_seg_dicom.nii.gz")
        assert (series.array.min(), series.array.max()) == (-1024, 1839)
        assert {abs(step) for step in series.spacing} == {abs(step) for step in label_map.spacing}
        assert series.shape == label_map.shape

    def test_a_folder_of_another_kind_is_no_series(self, real_data):
        with pytest.raises(ScanError, match="without DICOM slices"):
            read_volume(real_data / "niivue_images")
