"""DICOM values: those of the standard's modality LUT, slice by slice; nothing that concerns display is applied."""

import numpy as np
import pydicom
import pytest
from dicoms import change, write_ct
from pydicom import uid
from pydicom.dataset import Dataset

from vdt3d.io import ScanError, read_volume

STORED = np.arange(24).reshape(3, 2, 4) * 2


def lookup_table(first: int, entries: list[int]) -> list[Dataset]:
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [len(entries), first, 16], "HU"
    table.add_new("LUTData", "OW", np.array(entries, "<u2").tobytes())
    return [table]


def signed_12_bits(path):
    """Write the slice's values as 12 signed bits of 16, of which the upper four hold something else."""
    values = np.frombuffer(pydicom.dcmread(path).PixelData, "<u2").astype(int) - 1000
    bits = dict(BitsStored=12, HighBit=11, PixelRepresentation=1, RescaleIntercept=0)
    change(path, PixelData=(values & 0xFFF | 0xA000).astype("<u2").tobytes(), **bits)


@pytest.mark.parametrize(
    "display",
    [
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"WindowCenter": 10, "WindowWidth": 4},
        {"VOILUTSequence": lookup_table(0, [7, 8, 9])},
        {"PresentationLUTShape": "INVERSE"},
    ],
    ids=lambda header: next(iter(header)),
)
def test_what_concerns_display_changes_no_value(tmp_path, display):
    write_ct(tmp_path, STORED, **display)
    assert np.array_equal(read_volume(tmp_path).array[0], STORED)


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEGLSLossless], ids=lambda syntax: syntax.name)
def test_compressed_inverted_slices_keep_their_values(tmp_path, syntax):
    values = np.arange(192).reshape(3, 8, 8) * 11
    for path in write_ct(tmp_path, values, PhotometricInterpretation="MONOCHROME1"):
        dataset = pydicom.dcmread(path)
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(path)
    assert np.array_equal(read_volume(tmp_path).array[0], values)


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_signed_values_in_fewer_bits_keep_their_sign(tmp_path, kind):
    for path in write_ct(tmp_path, STORED - 20, PhotometricInterpretation=kind):
        signed_12_bits(path)
    assert np.array_equal(read_volume(tmp_path).array[0], STORED - 20)


def test_24_of_32_bits_are_read(tmp_path):
    for path in write_ct(tmp_path, STORED):
        values = np.frombuffer(pydicom.dcmread(path).PixelData, "<u2").astype("<u4") << 8
        change(path, BitsAllocated=32, BitsStored=24, HighBit=23, PixelData=values.tobytes())
    assert np.array_equal(read_volume(tmp_path).array[0], (STORED + 1000) * 256 - 1000)


def test_padding_is_kept_as_it_is(tmp_path):
    values = STORED.copy()
    values[:, 0, 0] = -1000
    write_ct(tmp_path, values, SmallestImagePixelValue=0)
    for path in tmp_path.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.add_new("PixelPaddingValue", "US", 0)
        dataset.save_as(path)
    assert np.array_equal(read_volume(tmp_path).array[0], values)


def test_each_slice_has_its_own_rescale(tmp_path):
    paths = write_ct(tmp_path, np.full((3, 2, 2), -998), Modality="PT", Units="BQML", RescaleType=None)  # stored as 2
    for path, slope in zip(paths, (1, 0.5, 3), strict=True):
        change(path, RescaleSlope=slope, RescaleIntercept=slope)
    assert read_volume(tmp_path).array[0, :, 0, 0].tolist() == [3, 1.5, 9]


def test_a_lookup_table_is_applied_and_continued_by_its_ends(tmp_path):
    paths = write_ct(tmp_path, STORED, RescaleSlope=None, RescaleIntercept=None, RescaleType=None)
    table = lookup_table(1001, [5, 7, 11])  # of the stored values 1001, 1002, 1003; stored are 1000, 1002, 1004, ...
    for path in paths:
        change(path, ModalityLUTSequence=table)
    values = read_volume(tmp_path).array[0]
    assert values[0].ravel()[:4].tolist() == [5, 7, 11, 11] and (values[1:] == 11).all()


@pytest.mark.parametrize(
    "odd",
    [
        {"RescaleSlope": "", "RescaleIntercept": ""},
        {"RescaleIntercept": ""},
        {"RescaleSlope": 0},
        {"ModalityLUTSequence": lookup_table(0, [1, 2])},
        {"RescaleSlope": "", "RescaleIntercept": "", "ModalityLUTSequence": lookup_table(0, [1, 2])},
        {"RescaleType": "US"},
        {"PhotometricInterpretation": "MONOCHROME1"},
    ],
    ids=lambda header: " ".join(header),
)
def test_a_slice_of_another_kind_is_named(tmp_path, odd):
    paths = write_ct(tmp_path, np.zeros((4, 2, 2), int))
    change(paths[2], **odd)
    with pytest.raises(ScanError, match=f"{paths[2].name}: "):
        read_volume(tmp_path)


@pytest.mark.parametrize("value", [None, ""], ids=["missing", "empty"])
def test_series_without_rescale_are_read_as_stored(tmp_path, value):
    write_ct(tmp_path, STORED, RescaleSlope=value, RescaleIntercept=value, RescaleType=value, ModalityLUTSequence=[])
    assert np.array_equal(read_volume(tmp_path).array[0], STORED + 1000)


@pytest.mark.parametrize(
    ("header", "finding"),
    [
        ({"HighBit": 15, "BitsStored": 12}, "HighBit is 15"),
        ({"PixelRepresentation": None}, "PixelRepresentation"),
        ({"BitsAllocated": 12}, "cannot be decoded"),
        ({"RescaleSlope": None, "RescaleIntercept": None, "ModalityLUTSequence": [Dataset()]}, "ModalityLUTSequence"),
        ({"Rows": 3}, "16 bytes of voxels, 24 expected"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
        ({"PhotometricInterpretation": "YBR_FULL", "SamplesPerPixel": 3}, "YBR_FULL"),
    ],
    ids=str,
)
def test_voxels_that_contradict_their_header_are_refused(tmp_path, header, finding):
    write_ct(tmp_path, STORED, **header)
    with pytest.raises(ScanError, match=rf"1_0\d\d.dcm: .*{finding}"):
        read_volume(tmp_path)


@pytest.mark.parametrize("implicit", [True, False])
def test_files_without_preamble_are_read(tmp_path, implicit):
    for path in write_ct(tmp_path, STORED):
        dataset = pydicom.dcmread(path)
        bare = Dataset()
        bare.update({element.tag: element for element in dataset})
        pydicom.dcmwrite(path.with_suffix(""), bare, implicit_vr=implicit, little_endian=True)
        path.unlink()
    assert np.array_equal(read_volume(tmp_path).array[0], STORED)


def test_big_endian_files_are_read(tmp_path):
    for path in write_ct(tmp_path, STORED):
        dataset = pydicom.dcmread(path)
        bare = Dataset()
        bare.update({element.tag: element for element in dataset if not element.tag.is_private})
        bare.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        bare.file_meta = dataset.file_meta
        bare.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
        pydicom.dcmwrite(path, bare, implicit_vr=False, little_endian=False, enforce_file_format=True)
    assert np.array_equal(read_volume(tmp_path).array[0], STORED)
