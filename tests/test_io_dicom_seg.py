"""DICOM-SEG: each segment's voxels and places are those of the labels on the series; what cannot refer is refused."""

import re
import traceback
import warnings
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK
from dicoms import IDENTITY, ROOT, change, write_ct
from numpy.testing import assert_allclose

from vdt3d.io import ScanError, SegSource, check_segment_names, read_volume, write_dicom_seg
from vdt3d.structures import LabelMap

OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)  # x turned by 37 degrees, y from head to feet: a coronal-like stack
CLASSES = {"liver": 1, "a long name that says more than the sixty-four letters DICOM has room for": 2, "nowhere": 3}


def labelled(folder: Path) -> LabelMap:
    """On the grid of the series: label 1 is a box from the second slice to the last but one, 2 two voxels of it."""
    volume = read_volume(folder)
    array = np.zeros(volume.array.shape, np.uint8)
    array[0, 1:-1, 1:4, 2:5] = 1
    array[0, 2, 1, 2:4] = 2
    return LabelMap(array, volume.affine)


def places_in_sitk(folder: Path, mask_DHW: np.ndarray, series: str = "") -> np.ndarray:
    """(n, 3) LPS+ mm of the voxels of a mask, on the series as SimpleITK reads it; sorted."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series))
    image = reader.Execute()
    assert image.GetSize()[::-1] == mask_DHW.shape
    step = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    return in_order(image.GetOrigin() + np.argwhere(mask_DHW)[:, ::-1] @ step.T)


def places_in_seg(path: Path, segment: int) -> np.ndarray:
    """(n, 3) LPS+ mm of the voxels of a segment, by the frames' own positions; sorted."""
    seg = highdicom.seg.segread(path)
    shared = seg.SharedFunctionalGroupsSequence[0]
    along = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    rows_mm, columns_mm = (float(step) for step in shared.PixelMeasuresSequence[0].PixelSpacing)
    found = []
    frames = seg.pixel_array if seg.NumberOfFrames > 1 else seg.pixel_array[None]
    for group, frame in zip(seg.PerFrameFunctionalGroupsSequence, frames, strict=True):
        named = group if "SegmentIdentificationSequence" in group else shared  # of the only segment it stands there
        if named.SegmentIdentificationSequence[0].ReferencedSegmentNumber == segment:
            corner = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
            rows, columns = np.nonzero(frame)
            found.append(corner + np.outer(columns * columns_mm, along[0]) + np.outer(rows * rows_mm, along[1]))
    return in_order(np.concatenate([np.empty((0, 3)), *found]))


def in_order(places: np.ndarray) -> np.ndarray:
    return places[np.lexsort(places.round(3).T)]


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), OBLIQUE], ids=["axial", "oblique"])
def test_every_segment_lies_where_its_label_does(tmp_path, orientation):
    write_ct(tmp_path / "ct", np.arange(6 * 5 * 7).reshape(6, 5, 7), orientation=orientation)
    labels, out = labelled(tmp_path / "ct"), tmp_path / "out.seg.dcm"
    write_dicom_seg(labels, out, SegSource.read(tmp_path / "ct"), segments=CLASSES, colours=("#FF0000", "#0000FF"))
    for number, count in ((1, 4 * 3 * 3 - 2), (2, 2), (3, 0)):
        expected = places_in_sitk(tmp_path / "ct", labels.array[0] == number)
        assert len(expected) == count
        assert_allclose(places_in_seg(out, number), expected, atol=1e-3)
    seg = highdicom.seg.segread(out)
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == [name[:64] for name in CLASSES]
    assert {segment.SegmentAlgorithmType for segment in seg.SegmentSequence} == {"AUTOMATIC"}
    assert seg.SegmentsOverlap == "NO" and "research only" in seg.ContentDescription
    colours = [segment.RecommendedDisplayCIELabValue for segment in seg.SegmentSequence]
    to_rgb = highdicom.color.CIELabColor.from_dicom_value
    assert [to_rgb(colour).to_rgb() for colour in colours] == [(255, 0, 0), (0, 0, 255), (255, 0, 0)]
    # highdicom's own way back: each source slice's labels, in the order of the series from feet to head
    slices = [f"{ROOT}.4.1.{place}" for place in range(1, 7)]
    options = dict(combine_segments=True, assert_missing_frames_are_empty=True)
    frames = seg.get_pixels_by_source_instance(slices, **options)
    assert np.array_equal(frames, labels.array[0])


def test_it_belongs_to_the_study_and_the_patient_of_its_series(tmp_path):
    write_ct(tmp_path / "ct", np.zeros((3, 4, 6), int))
    paths = [tmp_path / "one.dcm", tmp_path / "two.dcm"]
    for path in paths:
        write_dicom_seg(labelled(tmp_path / "ct"), path, SegSource.read(tmp_path / "ct"), segments=CLASSES)
    one, two = map(pydicom.dcmread, paths)
    assert one.StudyInstanceUID == f"{ROOT}.1" and one.FrameOfReferenceUID == f"{ROOT}.3"
    assert str(one.PatientName) == IDENTITY["PatientName"] and one.PatientID == IDENTITY["PatientID"]
    assert one.ReferencedSeriesSequence[0].SeriesInstanceUID == f"{ROOT}.2.1"
    assert {one.SeriesInstanceUID, one.SOPInstanceUID}.isdisjoint({two.SeriesInstanceUID, two.SOPInstanceUID})
    assert not [name for name in ("InstitutionName", "OperatorsName", "ImageComments") if name in one]


def test_regions_that_overlap_are_segments_that_do(tmp_path):
    write_ct(tmp_path / "ct", np.zeros((4, 5, 7), int))
    labels, out = labelled(tmp_path / "ct"), tmp_path / "out.dcm"
    write_dicom_seg(labels, out, SegSource.read(tmp_path / "ct"), segments={"organ": (1, 2), "tumour": (2,)})
    assert pydicom.dcmread(out).SegmentsOverlap == "YES"
    assert_allclose(places_in_seg(out, 1), places_in_sitk(tmp_path / "ct", labels.array[0] > 0), atol=1e-3)
    assert_allclose(places_in_seg(out, 2), places_in_sitk(tmp_path / "ct", labels.array[0] == 2), atol=1e-3)


def test_a_single_segment_is_read_back_too(tmp_path):
    write_ct(tmp_path / "ct", np.zeros((4, 5, 7), int))
    labels, out = labelled(tmp_path / "ct"), tmp_path / "out.dcm"
    write_dicom_seg(labels, out, SegSource.read(tmp_path / "ct"), segments={"tumour": 2})
    expected = places_in_sitk(tmp_path / "ct", labels.array[0] == 2)
    assert len(expected) == 2
    assert_allclose(places_in_seg(out, 1), expected, atol=1e-3)


def test_no_voxel_labelled_is_an_answer_too(tmp_path):
    write_ct(tmp_path / "ct", np.zeros((3, 4, 6), int))
    labels = labelled(tmp_path / "ct")
    empty = labels.replace(array=np.zeros_like(labels.array))
    write_dicom_seg(empty, tmp_path / "out.dcm", SegSource.read(tmp_path / "ct"), segments=CLASSES)
    assert [len(places_in_seg(tmp_path / "out.dcm", number)) for number in (1, 2, 3)] == [0, 0, 0]


@pytest.mark.parametrize("missing", ["StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"])
@pytest.mark.parametrize("value", [None, ""], ids=["missing", "empty"])
def test_uids_are_never_invented(tmp_path, missing, value):
    write_ct(tmp_path, np.zeros((3, 4, 6), int), **{missing: value})
    with pytest.raises(ScanError, match=f"its headers have no {missing}; a DICOM-SEG refers to its series by them"):
        SegSource.read(tmp_path)
    assert read_volume(tmp_path).shape == (3, 4, 6)


def test_one_slice_without_a_uid_and_two_of_one_are_refused(tmp_path):
    first, second, _ = write_ct(tmp_path, np.zeros((3, 4, 6), int))
    change(second, SOPInstanceUID=pydicom.dcmread(first).SOPInstanceUID)
    with pytest.raises(ScanError, match="its 3 slices share 2 SOPInstanceUIDs"):
        SegSource.read(tmp_path)
    change(second, SOPInstanceUID="")
    with pytest.raises(ScanError, match="its headers have no SOPInstanceUID;"):
        SegSource.read(tmp_path)


def test_what_a_study_may_lack_is_left_empty(tmp_path):
    gone = dict.fromkeys(("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber"))
    write_ct(tmp_path / "ct", np.zeros((3, 4, 6), int), **gone)
    write_dicom_seg(labelled(tmp_path / "ct"), tmp_path / "a.dcm", SegSource.read(tmp_path / "ct"), segments=CLASSES)
    seg = pydicom.dcmread(tmp_path / "a.dcm")
    assert not any(str(seg[name].value or "") for name in gone)


@pytest.mark.parametrize("stated", [None, 10, -3, 0], ids=str)
def test_spacing_is_that_of_the_positions(tmp_path, stated):
    header = {} if stated is None else {"SpacingBetweenSlices": stated}
    write_ct(tmp_path / "ct", np.zeros((4, 5, 7), int), orientation=OBLIQUE, **header)
    for path in (tmp_path / "ct").iterdir():
        change(path, SliceThickness="1.5")
    write_dicom_seg(labelled(tmp_path / "ct"), tmp_path / "a.dcm", SegSource.read(tmp_path / "ct"), segments=CLASSES)
    measures = pydicom.dcmread(tmp_path / "a.dcm").SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SpacingBetweenSlices == 3 and measures.SliceThickness == 1.5 and measures.PixelSpacing == [2, 1]


@pytest.mark.parametrize("stated", [None, "", 0])
def test_a_thickness_that_is_missing_is_the_step(tmp_path, stated):
    write_ct(tmp_path / "ct", np.zeros((4, 5, 7), int), SliceThickness=stated)
    write_dicom_seg(labelled(tmp_path / "ct"), tmp_path / "a.dcm", SegSource.read(tmp_path / "ct"), segments=CLASSES)
    measures = pydicom.dcmread(tmp_path / "a.dcm").SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SliceThickness == 3


@pytest.mark.parametrize(
    ("declared", "patient"),
    [
        (None, "DOE^JANE"),
        ("ISO_IR 100", "M\u00fcller^J\u00fcrgen"),
        ("ISO_IR 144", "\u041b\u044e\u043ace\u043c\u0431yp\u0433"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce"),
        ("GB18030", "Wang^XiaoDong=\u738b^\u5c0f\u4e1c"),
    ],
    ids=str,
)
def test_texts_are_written_in_utf_8_whatever_the_series_uses(tmp_path, declared, patient):
    nested = pydicom.Dataset()
    nested.PatientID, nested.IssuerOfPatientID = "1", patient.split("=")[-1].replace("^", " ")
    header = dict(SpecificCharacterSet=declared) if declared else {}
    write_ct(tmp_path / "ct", np.zeros((3, 4, 6), int), **header, PatientName=patient, OtherPatientIDsSequence=[nested])
    names = ["\u809d\u81d3", "Leber gr\u00fcn"]
    segments = {name: number for number, name in enumerate(names, start=1)}
    write_dicom_seg(labelled(tmp_path / "ct"), tmp_path / "a.dcm", SegSource.read(tmp_path / "ct"), segments=segments)
    seg = pydicom.dcmread(tmp_path / "a.dcm")
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == names
    assert [segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning for segment in seg.SegmentSequence] == names
    assert str(seg.PatientName) == patient and seg.SpecificCharacterSet == "ISO_IR 192"
    assert seg.OtherPatientIDsSequence[0].IssuerOfPatientID == nested.IssuerOfPatientID
    content = (tmp_path / "a.dcm").read_bytes()
    assert all(text.encode() in content for text in (*names, patient))


@pytest.mark.parametrize("name", ["left\\right", "two\nlines", "", "  "])
def test_names_that_dicom_cannot_hold_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=re.escape(repr(name))):
        check_segment_names(["liver", name])


def test_names_that_differ_after_the_last_written_letter_are_refused():
    with pytest.raises(ValueError, match="x2"):
        check_segment_names(["a" * 64 + "x1", "a" * 64 + "x2"])


def test_text_that_cannot_be_decoded_is_refused(tmp_path):
    header = dict(SpecificCharacterSet="ISO_IR 192", PatientName="Mueller")
    for path in write_ct(tmp_path / "ct", np.zeros((3, 4, 6), int), **header):
        path.write_bytes(path.read_bytes().replace(b"Mueller ", b"M\xfcller  "))  # not in UTF-8
    with pytest.raises(ScanError, match="SpecificCharacterSet") as caught:
        labels, source = labelled(tmp_path / "ct"), SegSource.read(tmp_path / "ct")
        write_dicom_seg(labels, tmp_path / "a.dcm", source, segments=CLASSES)
    assert "ller" not in str(caught.value) and not (tmp_path / "a.dcm").exists()


def test_labels_on_another_grid_are_refused(tmp_path):
    write_ct(tmp_path, np.zeros((3, 4, 6), int))
    labels, source = labelled(tmp_path), SegSource.read(tmp_path)
    moved = labels.affine.copy()
    moved[0, 3] += 0.5
    for other, found in (
        (labels.replace(affine=moved), r"0\.5 mm"),
        (labels.replace(array=labels.array[:, 1:]), r"\(3, 4, 6\) voxels, the labels \(2, 4, 6\)"),
    ):
        with pytest.raises(ScanError, match=found):
            write_dicom_seg(other, tmp_path / "out.dcm", source, segments=CLASSES)
    with pytest.raises(ValueError, match="class names"):
        write_dicom_seg(labels, tmp_path / "out.dcm", source, segments={})
    assert not (tmp_path / "out.dcm").exists()


def test_labels_of_a_tilted_series_lie_beside_its_slices(tmp_path):
    slices = write_ct(tmp_path, np.zeros((4, 8, 6), int))
    for place, path in enumerate(slices):  # a slice up, a row of 2 mm back
        change(path, ImagePositionPatient=[-7, -8 + 2 * place, 30 + 3 * place])
    volume = read_volume(tmp_path, shear="resample")
    labels = LabelMap(np.zeros(volume.array.shape, np.uint8), volume.affine)
    with pytest.raises(ScanError, match=str(tmp_path)):
        write_dicom_seg(labels, tmp_path / "out.dcm", SegSource.read(tmp_path), segments=CLASSES)


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ({"PatientName": "QUICKSILVER " * 9}, True),  # one word, and too long: both would be warned of
        ({"PatientBirthDate": "13 July, QUICKSILVER"}, False),
        ({"PatientSex": "QUICKSILVER"}, False),
        ({"StudyDate": "QUICKSILVER"}, False),
        ({"StudyTime": "QUICKSILVER"}, False),
    ],
)
def test_what_breaks_the_standard_in_a_header_is_not_quoted(tmp_path, header, taken, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's about what the test writes
        write_ct(tmp_path / "ct", np.zeros((3, 4, 6), int), **header)
    caplog.clear()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        if taken:
            source = SegSource.read(tmp_path / "ct")
            write_dicom_seg(labelled(tmp_path / "ct"), tmp_path / "a.dcm", source, segments=CLASSES)
        else:
            with pytest.raises(ScanError, match=next(iter(header))) as caught:
                SegSource.read(tmp_path / "ct")
            assert "QUICKSILVER" not in "".join(traceback.format_exception(caught.value))
    assert "QUICKSILVER" not in caplog.text + "".join(str(warning.message) for warning in warned)
    assert (tmp_path / "a.dcm").exists() == taken


def test_a_file_is_no_series(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"")
    with pytest.raises(ScanError, match="is no folder of a DICOM series"):
        SegSource.read(tmp_path / "a.nii")


def test_real_slices_are_referred_to(tmp_path, real_data):
    folder = real_data / "chaos_ct_liver/dicom_24"
    volume = read_volume(folder)
    array = np.zeros(volume.array.shape, np.uint8)
    array[0][volume.array[0] > 150] = 1  # bone and contrast
    array[0, 3:20, 100:300, 50:260][volume.array[0, 3:20, 100:300, 50:260] < -500] = 2
    labels = LabelMap(array, volume.affine)
    write_dicom_seg(labels, tmp_path / "a.dcm", SegSource.read(folder), segments={"bright": 1, "air": 2})
    for number in (1, 2):
        expected = places_in_sitk(folder, array[0] == number)
        assert len(expected) > 1000
        assert_allclose(places_in_seg(tmp_path / "a.dcm", number), expected, atol=1e-3)


def test_a_real_series_without_uids_is_refused_by_their_names(real_data):
    names = "StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID, SOPClassUID"
    with pytest.raises(ScanError, match=f"its headers have no {names};"):
        SegSource.read(real_data / "totalsegmentator_test_files/example_ct_dicom")
