"""DICOM series: slices are sorted and placed by their tags; what does not fit is refused, and no patient is named."""

import shutil

import numpy as np
import pydicom
import pytest
import SimpleITK
from dicoms import change, write_ct
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from vdt3d.io import ScanError, find_scans, list_series, read_volume

NAME = "DOE^JANE"


def write_slice(folder, z, value=None, *, name=None, series="1.2.3", position=None, shape=(4, 6), **tags):
    """One CT slice, z mm up, whose voxels say ``value``; 2 mm between rows, 1 mm between columns."""
    image = SimpleITK.GetImageFromArray(np.full((1, *shape), z if value is None else value, np.int16))
    image.SetSpacing((1, 2, 1))
    position = (-7, -8, z) if position is None else position
    values = {
        "0008|0060": "CT",
        "0010|0010": NAME,
        "0010|0020": NAME,
        "0020|000e": series,
        "0020|0032": "\\".join(str(number) for number in position),
        "0020|0037": "1\\0\\0\\0\\1\\0",
        **tags,
    }
    for tag, text in values.items():
        image.SetMetaData(tag, text)
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(folder / (name or f"{series}_{z}.dcm"))
    writer.Execute(image)


def patch(path, old, new):
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


def refused(folder, finding, remedy, **options):
    with pytest.raises(ScanError, match=f"^{folder}.*{finding}.*; .*{remedy}") as caught:
        read_volume(folder, **options)
    assert NAME not in str(caught.value)


def test_slices_are_sorted_by_position_and_placed_in_the_world(tmp_path):
    for name, z in (("b", 30), ("a", 33), ("c", 36)):  # names tell nothing
        write_slice(tmp_path, z, name=f"{name}.dcm")
    (tmp_path / "readme.txt").write_text("not a slice")
    volume = read_volume(tmp_path)
    assert volume.array[0, :, 0, 0].tolist() == [30, 33, 36] and volume.array.dtype == np.float32
    assert volume.spacing == (3, 2, 1) and volume.shape == (3, 4, 6)
    # voxel (z, y, x) = (1, 2, 3): left -7 + 3, backwards -8 + 2 * 2, up 30 + 3; RAS+ turns the first two around
    assert (volume.affine @ [1, 2, 3, 1]).tolist() == [4, 4, 33, 1]


def test_simpleitk_agrees_on_the_place(tmp_path):
    for z in (30, 33, 36):
        write_slice(tmp_path, z)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(sorted(str(path) for path in tmp_path.iterdir()))
    left, back, up = reader.Execute().TransformIndexToPhysicalPoint((3, 2, 1))
    assert read_volume(tmp_path).affine @ [1, 2, 3, 1] == pytest.approx([-left, -back, up, 1])


def test_several_series_are_listed_and_one_is_chosen(tmp_path):
    for z in (0, 1, 2):
        write_slice(tmp_path, z)
    for z in (0, 5):
        write_slice(tmp_path, z, series="1.2.4")
    assert {series: len(facts.files) for series, facts in list_series(tmp_path).items()} == {"1.2.3": 3, "1.2.4": 2}
    refused(tmp_path, r"'1.2.3' \(CT, 3 slices\), '1.2.4' \(CT, 2 slices\)", "choose one with series=")
    refused(tmp_path, r"not '1.2.5'", "choose one with series=", series="1.2.5")
    assert read_volume(tmp_path, series="1.2.4").spacing == (5, 2, 1)


def test_a_missing_slice_is_named(tmp_path):
    for z in (0, 2, 4, 8, 10):
        write_slice(tmp_path, z)
    refused(tmp_path, "1.2.3_4.dcm and 1.2.3_8.dcm are 4.00 mm apart, most are 2.00 mm", "fetch the missing slice")


def test_doubled_slices_are_named(tmp_path):
    for z in (0, 2, 4, 6):
        write_slice(tmp_path, z)
    write_slice(tmp_path, 2, name="copy.dcm")
    refused(tmp_path, "1.2.3_2.dcm and copy.dcm", "remove doubled slices")


def test_every_slice_twice_is_two_phases(tmp_path):
    for z in (0, 2, 4, 6):
        write_slice(tmp_path, z, name=f"{z}_a.dcm", **{"0018|0081": "4.6"})
        write_slice(tmp_path, z, name=f"{z}_b.dcm", **{"0018|0081": "2.3"})
    refused(tmp_path, "2 slices at each of 4 positions, such as 0_a.dcm and 0_b.dcm.* EchoTime", "folder of its own")


def test_a_step_of_the_usual_length_in_another_direction_is_described_by_its_direction(tmp_path):
    for z, position in ((0, (0, 0, 0)), (2, (0, 0, 2)), (4, (0, 0, 4)), (6, (2, 0, 4))):
        write_slice(tmp_path, z, position=position)
    refused(tmp_path, r"1.2.3_4.dcm and 1.2.3_6.dcm .*\[2.0, 0.0, 0.0\].*\[0.0, 0.0, 2.0\]", "another acquisition")


def test_a_tilted_gantry_is_a_shear(tmp_path):
    for z in (0, 2, 4):
        write_slice(tmp_path, z, position=(0, -z / 2, z))  # a step up is half a step forward
    refused(tmp_path, r"sheared by 26\.57 degrees", "shear='resample'")
    volume = read_volume(tmp_path, shear="resample")
    assert volume.spacing == (2, 2, 1) and volume.shape == (3, 5, 6)


@pytest.mark.parametrize("odd", [{"shape": (5, 6)}, {"0020|0037": "0\\1\\0\\-1\\0\\0"}], ids=["size", "orientation"])
def test_a_slice_that_differs_is_named(tmp_path, odd):
    for z in (0, 2, 4):
        write_slice(tmp_path, z)
    write_slice(tmp_path, 6, **odd)
    name = "Rows and Columns" if "shape" in odd else "ImageOrientationPatient"
    refused(tmp_path, f"1.2.3_0.dcm and 1.2.3_6.dcm differ in {name}", "folders of their own")


def test_one_slice_is_no_volume(tmp_path):
    write_slice(tmp_path, 0)
    refused(tmp_path, "series of one slice", "give the whole series")
    refused(tmp_path / "1.2.3_0.dcm", "is one slice of a DICOM series", "give the folder")


def test_a_truncated_slice_is_named(tmp_path):
    for z in (0, 2, 4):
        write_slice(tmp_path, z)
    last = tmp_path / "1.2.3_4.dcm"
    last.write_bytes(last.read_bytes()[:-20])
    refused(tmp_path, "1.2.3_4.dcm: .*28 bytes.* 48 expected", "copy")


@pytest.mark.parametrize(
    "size", [0, 100, 140, 600], ids=["empty", "in the preamble", "in the meta data", "in the header"]
)
def test_a_file_cut_before_its_image_is_named(tmp_path, size):
    first, *_ = write_ct(tmp_path, np.zeros((4, 2, 2), int))  # at the end of the series, where no gap shows it
    first.write_bytes(first.read_bytes()[:size])
    refused(tmp_path, f"{first.name}: ", "move it out of the folder")


def test_colour_and_multi_frame_files_are_refused(tmp_path):
    colour, frames = tmp_path / "colour", tmp_path / "frames"
    for folder, array, vector in (
        (colour, np.zeros((1, 4, 6, 3), np.uint8), True),
        (frames, np.zeros((5, 4, 6), np.uint8), False),
    ):
        folder.mkdir()
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=vector), folder / "a.dcm")
        refused(folder, "a.dcm: .*RGB" if vector else "a.dcm: .*multi-frame", "grey series" if vector else "dcm2niix")


def test_slices_without_a_position_are_refused(tmp_path):
    for z in (0, 2):
        write_slice(tmp_path, z)
        patch(tmp_path / f"1.2.3_{z}.dcm", b"\x20\x00\x32\x00", b"\x20\x00\x33\x00")  # ImagePositionPatient to no tag
    refused(tmp_path, "1.2.3_0.dcm: has no ImagePositionPatient", "export the original series")


@pytest.mark.parametrize(
    ("element", "numbers"),
    [
        ("ImagePositionPatient", [1, 2]),
        ("ImagePositionPatient", ["nan", "0", "0"]),
        ("ImageOrientationPatient", [1, 0, 0, 0, 1]),
        ("ImageOrientationPatient", [2, 0, 0, 0, 1, 0]),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
        ("PixelSpacing", None),
        ("PixelSpacing", [1]),
        ("PixelSpacing", [-1, 1]),
        ("PixelSpacing", [0, 0]),
    ],
    ids=str,
)
def test_geometry_that_places_nothing_names_its_file_and_element(tmp_path, element, numbers):
    # Spacing at the detector and the shape of a pixel are no spacing in the patient.
    write_ct(
        tmp_path, np.zeros((3, 2, 2), int), **{element: numbers}, ImagerPixelSpacing=[1, 1], PixelAspectRatio=[1, 1]
    )
    refused(tmp_path, rf"1_0\d\d.dcm: .*{element}", "export the original series")


def test_slices_of_two_frames_of_reference_are_refused(tmp_path):
    paths = write_ct(tmp_path, np.zeros((4, 2, 2), int))
    change(paths[2], FrameOfReferenceUID="1.2.3")
    refused(tmp_path, f"{paths[2].name}: .*FrameOfReferenceUID", "odd slices")


@pytest.mark.parametrize("element", ["SharedFunctionalGroupsSequence", "NumberOfFrames"])
def test_enhanced_files_are_refused(tmp_path, element):
    write_ct(tmp_path, np.zeros((3, 2, 2), int), **{element: [Dataset()] if element.endswith("Sequence") else 2})
    refused(tmp_path, "1_000.dcm: .*enhanced", "dcm2niix")


def test_stated_spacing_between_slices_does_not_count(tmp_path):
    for number, spacing in enumerate((0, -3, 10)):
        write_ct(tmp_path / str(number), np.full((3, 2, 2), 40), SpacingBetweenSlices=spacing)
        volume = read_volume(tmp_path / str(number))
        assert volume.spacing == (3, 2, 1) and (volume.array == 40).all()


def test_a_later_slice_may_be_rescaled_by_a_fraction(tmp_path):
    for z in (0, 2):
        write_slice(tmp_path, z, 3, **{"0028|1052": "0", "0028|1053": "1"})
    length = b"\x02\x00\x00\x00"
    patch(tmp_path / "1.2.3_2.dcm", b"\x28\x00\x53\x10" + length + b"1 ", b"\x28\x00\x53\x10" + length + b".5")
    assert read_volume(tmp_path).array[0, :, 0, 0].tolist() == [3, 1.5]


def compressed(path, syntax):
    """Write the slice anew, by pydicom, in a transfer syntax that it can write itself."""
    dataset = pydicom.dcmread(path)
    dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(path)


@pytest.mark.parametrize("how", ["RLE", "JPEG-LS", "JPEG 2000", "JPEG lossless", "deflated"])
def test_compressed_slices_are_read(tmp_path, how):
    for z in (0, 2, 4):
        write_slice(tmp_path, z, 100 + z, shape=(8, 8))
    for path in tmp_path.iterdir():
        if how in ("RLE", "JPEG-LS"):
            compressed(path, {"RLE": uid.RLELossless, "JPEG-LS": uid.JPEGLSLossless}[how])
        elif how == "deflated":
            dataset = pydicom.dcmread(path)
            dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
            dataset.save_as(path)
        else:
            writer = SimpleITK.ImageFileWriter()
            writer.KeepOriginalImageUIDOn()
            writer.UseCompressionOn()
            writer.SetCompressor({"JPEG 2000": "JPEG2000", "JPEG lossless": "JPEG"}[how])
            writer.SetFileName(path)
            writer.Execute(SimpleITK.ReadImage(path))
    syntaxes = {pydicom.dcmread(path).file_meta.TransferSyntaxUID for path in tmp_path.iterdir()}
    assert len(syntaxes) == 1 and syntaxes.isdisjoint({uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian})
    volume = read_volume(tmp_path)
    assert volume.array[0, :, 3, 5].tolist() == [100, 102, 104] and volume.spacing == (2, 2, 1)


def test_a_transfer_syntax_nobody_here_decodes_is_named(tmp_path):
    for z in (0, 2, 4):
        write_slice(tmp_path, z, shape=(8, 8))
    for path in tmp_path.iterdir():  # what RLE wrote is no high-throughput JPEG 2000, whatever it says
        compressed(path, uid.RLELossless)
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"
        dataset.save_as(path)
    refused(tmp_path, r"1.2.3_0.dcm: .*transfer syntax 1\.2\.840\.10008\.1\.2\.4\.201", "decompress it")


def write_other(folder, modality, kind):
    """A DICOM file of another kind, which may hold frames of its own as a segmentation or a dose does."""
    other = Dataset()
    other.file_meta = FileMetaDataset()
    other.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = kind
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = "1.2.9"
    other.SeriesInstanceUID, other.PatientName, other.Modality = f"1.2.8.{len(modality)}", NAME, modality
    if modality in ("SEG", "RTDOSE"):
        other.NumberOfFrames, other.Rows, other.Columns = 5, 4, 6
    other.save_as(folder / f"{modality}.dcm", enforce_file_format=True)


OTHERS = {
    "SR": uid.EnhancedSRStorage,
    "PR": uid.GrayscaleSoftcopyPresentationStateStorage,
    "SEG": uid.SegmentationStorage,
    "REG": uid.SpatialRegistrationStorage,
    "RTSTRUCT": uid.RTStructureSetStorage,
    "RTDOSE": uid.RTDoseStorage,
    "DOC": uid.EncapsulatedPDFStorage,
}


def test_what_lies_beside_slices_and_holds_none_is_passed_over(tmp_path):
    for z in (0, 2, 4):
        write_slice(tmp_path, z)
    for modality, kind in OTHERS.items():
        write_other(tmp_path, modality, kind)
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "._1.2.3_0.dcm").write_bytes(b"\0\5\x16\7")  # a companion that macOS makes
    assert list(list_series(tmp_path)) == ["1.2.3"]
    assert read_volume(tmp_path).shape == (3, 4, 6)


def test_a_folder_or_file_without_slices_is_described_by_its_modality(tmp_path):
    for modality in ("SEG", "RTDOSE"):
        write_other(tmp_path, modality, OTHERS[modality])
    refused(tmp_path, "1 RTDOSE, 1 SEG", "folder that holds the slices")
    refused(tmp_path / "SEG.dcm", "SEG", "folder of a DICOM series")


def test_results_below_a_series_are_no_scans(tmp_path):
    write_ct(tmp_path / "ct", np.zeros((3, 2, 2), int))
    (tmp_path / "ct/labels").mkdir()
    write_other(tmp_path / "ct/labels", "SEG", OTHERS["SEG"])
    assert find_scans([tmp_path]) == {"ct": tmp_path / "ct"}


def test_slices_beside_files_of_scans_are_not_passed_over(tmp_path):
    write_ct(tmp_path, np.zeros((3, 2, 2), int))
    (tmp_path / "a.nii.gz").write_bytes(b"")
    with pytest.raises(ScanError, match=rf"^{tmp_path}: .*a\.nii\.gz"):
        find_scans([tmp_path])


def test_a_localiser_in_the_series_is_named_and_one_of_its_own_is_a_series(tmp_path):
    for z in (0, 2, 4):
        write_slice(tmp_path, z)
    sagittal = {"0020|0037": "0\\1\\0\\0\\0\\-1", "0020|0011": "1", "0008|103e": "LOC"}
    write_slice(tmp_path, 9, series="1.2.4", **sagittal)
    refused(tmp_path, r"'1.2.4' \(number 1, CT, 1 slice, LOC\)", "choose one with series=")
    assert read_volume(tmp_path, series="1.2.3").shape == (3, 4, 6)
    write_slice(tmp_path, 8, name="loc.dcm", **sagittal)
    refused(tmp_path, "1.2.3_0.dcm and loc.dcm differ in ImageOrientationPatient", "put localisers", series="1.2.3")


def test_instance_numbers_are_not_what_slices_are_sorted_by(tmp_path):
    for z in (0, 2, 4):
        write_slice(tmp_path, z, **{"0020|0013": "7"})
    assert read_volume(tmp_path).array[0, :, 0, 0].tolist() == [0, 2, 4]


def test_voxels_that_cannot_be_decoded_are_refused(tmp_path, real_data):
    for path in sorted((real_data / "totalsegmentator_test_files/example_ct_dicom").iterdir())[:2]:
        shutil.copyfile(path, tmp_path / path.name)
    start_of_jpeg_2000 = b"\xff\x4f\xff\x51"
    patch(tmp_path / path.name, start_of_jpeg_2000, bytes(4))
    refused(tmp_path, f"{path.name}: .*cannot be decoded", "export it again")


def test_an_empty_folder_is_no_series(tmp_path):
    refused(tmp_path, "without DICOM slices", "give a file, or the folder that holds the slices")
