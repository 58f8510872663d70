"""The table of malformed files: each is refused with the file's name, what was found, and what to do about it."""

import gzip
import pickle
import struct

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from PIL import Image
from torch.utils.data import DataLoader

from vdt3d.datasets import VolumeClassification
from vdt3d.io import ScanError, read_label_map, read_volume

AGAIN = "copy or download it again"
HTML = b"<!DOCTYPE html>\n<html><body>Please log in</body></html>"
# where NIfTI-1 keeps what the tests spoil, as byte offset and struct format
DIM1, TYPE, SPACING_X, BEGIN, SLOPE, QFORM_CODE, SFORM_CODE, QUATERN_B, SFORM_X, MAGIC = (
    (42, "h"),
    (70, "h"),
    (80, "f"),
    (108, "f"),
    (112, "f"),
    (252, "h"),
    (254, "h"),
    (256, "f"),
    (280, "f"),
    (344, "4s"),
)
NAN, INF = float("nan"), float("inf")


def nifti(array=None, affine=None, *spoiled):
    """The bytes of a NIfTI-1 file, with ``spoiled`` header fields: ((offset, format), value)."""
    array = np.arange(2000, dtype=np.int16).reshape(20, 10, 10) if array is None else array
    raw = bytearray(nib.Nifti1Image(array, np.eye(4) if affine is None else affine, dtype=array.dtype).to_bytes())
    for (offset, kind), value in spoiled:
        struct.pack_into("<" + kind, raw, offset, value)
    return bytes(raw)


def spoil(*spoiled):
    return nifti(None, None, *spoiled)


def filled(value, dtype=np.float32):
    array = np.zeros((4, 4, 4), dtype)
    array[1, 2, 3] = value
    return array


def shear(x_per_z):
    affine = np.eye(4)
    affine[0, 2] = x_per_z
    return affine


WHOLE = nifti()
RGB = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
FLIPPED = bytearray(gzip.compress(WHOLE))
FLIPPED[-6] ^= 255  # in the checksum: every voxel arrives, and none can be trusted

NIFTI = {
    "truncated nii": ("a.nii", WHOLE[:2000], "is truncated: its header announces 4000 bytes of voxels", AGAIN),
    "truncated by one byte": ("a.nii", WHOLE[:-1], "is truncated", AGAIN),
    "truncated nii.gz": ("a.nii.gz", gzip.compress(WHOLE)[:1500], "is truncated or damaged .*end-of-stream", AGAIN),
    "truncated before gzip": ("a.nii.gz", gzip.compress(WHOLE[:2000]), "is truncated", AGAIN),
    "truncated in gzip's checksum": ("a.nii.gz", gzip.compress(WHOLE)[:-4], "is truncated or damaged", AGAIN),
    "wrong checksum": ("a.nii.gz", bytes(FLIPPED), "is truncated or damaged .*CRC", AGAIN),
    "truncated header": ("a.nii", WHOLE[:200], "does not begin with a NIfTI header", AGAIN),
    "empty": ("a.nii.gz", b"", "is empty", AGAIN),
    "empty inside gzip": ("a.nii.gz", gzip.compress(b""), "does not begin with a NIfTI header", AGAIN),
    "HTML": ("a.nii.gz", HTML, "looks like a web page", "download it again"),
    "HTML after blanks": ("a.nii", b"\n\n " + HTML, "looks like a web page", "download it again"),
    "not gzip": ("a.nii.gz", WHOLE, "is not gzip", "rename it to .nii"),
    "gzip without .gz": ("a.nii", gzip.compress(WHOLE), "is gzip", "rename it to .nii.gz"),
    "not NIfTI": ("a.nii", b"\x07" * 5000, "does not begin with a NIfTI header", AGAIN),
    "Analyze": ("a.nii", spoil((MAGIC, b"ni1\0")), "is not a single-file NIfTI", "convert it to .nii.gz"),
    "zero spacing": (
        "a.nii",
        spoil((SPACING_X, 0)),
        r"spacing \[0.0, 1.0, 1.0\]",
        "write the true spacing into pixdim",
    ),
    "NaN spacing": (
        "a.nii",
        spoil((SPACING_X, NAN)),
        r"spacing \[nan, 1.0, 1.0\]",
        "write the true spacing into pixdim",
    ),
    "negative spacing": ("a.nii", spoil((SPACING_X, -2)), r"spacing \[-2.0", "write the true spacing into pixdim"),
    "NaN in sform": ("a.nii", spoil((SFORM_X, NAN)), "its affine is not finite", "repair the geometry"),
    "Inf in sform": ("a.nii", spoil((SFORM_X, INF)), "its affine is not finite", "repair the geometry"),
    "unknown unit": ("a.nii", spoil(((123, "b"), 5)), "unknown unit of length 5", "xyzt_units"),
    "unknown code": ("a.nii", spoil((SFORM_CODE, 77)), "sform_code = 77", "repair the geometry"),
    "sform against pixdim": ("a.nii", spoil((SPACING_X, 10)), r"\[1.0, 1.0, 1.0\].*\[10.0, 1.0, 1.0\]", "true spacing"),
    "impossible qform": (
        "a.nii",
        spoil((SFORM_CODE, 0), (QFORM_CODE, 1), (QUATERN_B, 2)),
        "its qform is impossible",
        "repair the geometry",
    ),
    "singular sform": ("a.nii", spoil((SFORM_X, 0)), "its affine is singular", "repair the geometry"),
    "sheared": ("a.nii", nifti(None, shear(0.1)), r"sheared by 5\.71 degrees", "--shear resample .*shear='resample'"),
    "NaN voxel": ("a.nii", nifti(filled(NAN)), "1 of 64 voxels are NaN or infinite", "--nan zero .*nan='zero'"),
    "Inf voxel": ("a.nii", nifti(filled(-INF)), "1 of 64 voxels are NaN or infinite", "--nan zero .*nan='zero'"),
    "fourth axis": (
        "a.nii",
        nifti(np.zeros((3, 3, 3, 4), np.int16)),
        "holds 4 channels",
        "channels=4",
    ),
    "vectors": (
        "a.nii",
        nifti(np.zeros((3, 3, 3, 1, 3), np.int16)),
        "holds 3 channels",
        "channels=3",
    ),
    "complex": ("a.nii", nifti(filled(1, np.complex64)), "voxels are complex", "save one real number per voxel"),
    "RGB": ("a.nii", nifti(RGB), "voxels are RGB or compound", "save one real number per voxel"),
    "unknown type": ("a.nii", spoil((TYPE, 9999)), "unknown voxel type 9999", "repair the header"),
    "no type": ("a.nii", spoil((TYPE, 0)), "unknown voxel type 0", "repair the header"),
    "no voxels": ("a.nii", spoil((DIM1, 0)), r"states the shape \(0, 10, 10\)", "repair the header"),
    "voxels in the header": ("a.nii", spoil((BEGIN, 8)), "voxels begin at byte 8", "repair vox_offset"),
    "voxels nowhere": ("a.nii", spoil((BEGIN, NAN)), "voxels begin at byte nan", "repair vox_offset"),
    "infinite slope": ("a.nii", spoil((SLOPE, 1), ((116, "f"), INF)), "header is impossible", "repair the header"),
    "absurd size": (
        "a.nii.gz",
        gzip.compress(spoil((DIM1, 32767), ((44, "h"), 32767), ((46, "h"), 32767))),
        "truncated",
        AGAIN,
    ),
}

LABELS = {
    "fractions": (filled(0.5), "1 of 64 voxels are no whole numbers", "before interpolation, or threshold"),
    "NaN": (filled(NAN), "1 of 64 voxels are no whole numbers", "before interpolation, or threshold"),
    "infinite": (filled(INF), "1 of 64 voxels are no whole numbers", "before interpolation, or threshold"),
    "negative": (filled(-1, np.int16), r"holds negative labels \(down to -1\)", "number the classes from 0"),
    "one-hot": (np.zeros((3, 3, 3, 4), np.uint8), "holds 4 channels", "labels as one number per voxel"),
}


def refused(read, path, finding, remedy, **options):
    """``read`` raises a ScanError that names file, finding and remedy, and that can be pickled."""
    with pytest.raises(ScanError, match=f"(?s)^.*{path.name}: .*{finding}.*; .*{remedy}") as caught:
        read(path, **options)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_data_loaders_worker_passes_the_error_on_as_it_is(tmp_path):
    np.save(tmp_path / "a.npy", np.full((2, 2, 2), NAN))
    table = tmp_path / "labels.csv"
    table.write_text("path,target\na.npy,ill\n")
    loader = DataLoader(VolumeClassification(tmp_path, split="all", classes=("ill", "well")), num_workers=1)
    with pytest.raises(ScanError) as caught:
        next(iter(loader))
    last = str(caught.value).splitlines()[-1]
    assert f"{tmp_path / 'a.npy'}: 8 of 8 voxels are NaN or infinite; repair the file" in last


@pytest.mark.parametrize("case", NIFTI)
def test_a_malformed_nifti_is_refused(tmp_path, case):
    name, content, finding, remedy = NIFTI[case]
    (tmp_path / name).write_bytes(content)
    refused(read_volume, tmp_path / name, finding, remedy)


def test_the_same_file_unspoilt_is_read(tmp_path):
    (tmp_path / "a.nii").write_bytes(WHOLE)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(WHOLE))
    for path in tmp_path.iterdir():
        assert read_volume(path).array[0, 0, 0, :3].tolist() == [0, 100, 200]  # C order in x, y, z


def test_tiny_shear_from_rounding_is_no_shear(tmp_path):
    (tmp_path / "a.nii").write_bytes(nifti(None, shear(5e-4)))
    assert read_volume(tmp_path / "a.nii").shape == (10, 10, 20)


@pytest.mark.parametrize("case", LABELS)
def test_what_is_no_label_map_is_refused(tmp_path, case):
    array, finding, remedy = LABELS[case]
    (tmp_path / "labels.nii").write_bytes(nifti(array))
    refused(read_label_map, tmp_path / "labels.nii", finding, remedy)


def written(path, compressed=False, array=None):
    array = np.arange(1, 2001, dtype=np.int16).reshape(10, 10, 20) if array is None else array
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), path, useCompression=compressed)
    return path.read_bytes()


@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "compressed"])
@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_a_truncated_itk_file_is_refused(tmp_path, name, compressed):
    whole = written(tmp_path / name, compressed)
    (tmp_path / name).write_bytes(whole[: len(whole) * 2 // 3])
    refused(read_volume, tmp_path / name, "is truncated", AGAIN)


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "compressed"])
def test_truncated_voxels_in_a_second_file_are_refused(tmp_path, suffix, compressed):
    header = tmp_path / f"a{suffix}"
    written(header, compressed)
    (second,) = set(tmp_path.iterdir()) - {header}
    second.write_bytes(second.read_bytes()[:500])
    refused(read_volume, header, "is truncated", AGAIN)


META = {
    "zero spacing": (b"ElementSpacing = 1 1 1", b"ElementSpacing = 0 1 1", "ElementSpacing = 0 1 1", "true geometry"),
    "NaN spacing": (
        b"ElementSpacing = 1 1 1",
        b"ElementSpacing = nan 1 1",
        "ElementSpacing = nan 1 1",
        "true geometry",
    ),
    "negative": (b"ElementSpacing = 1 1 1", b"ElementSpacing = -1 1 1", "ElementSpacing = -1 1 1", "true geometry"),
    "NaN origin": (b"Offset = 0 0 0", b"Offset = nan 0 0", "Offset = nan 0 0", "true geometry"),
    "NaN direction": (b"Matrix = 1 0", b"Matrix = nan 0", "TransformMatrix = nan 0", "true geometry"),
    "sheared": (b"Matrix = 1 0", b"Matrix = 1 0.5", "sheared by", "shear='resample'"),
    "too large": (b"DimSize = 20", b"DimSize = 99", "is truncated: 19800 bytes of voxels expected, 4000 found", AGAIN),
    "no packed size": (b"CompressedDataSize", b"Comment", "header is damaged or incomplete", AGAIN),
    "no type": (b"ElementType", b"Comment", "header is damaged or incomplete", AGAIN),
    "misspelt spacing": (b"ElementSpacing", b"ElementSpacng", "unknown key ElementSpacng", "write ElementSpacing"),
    "misspelt direction": (b"TransformMatrix", b"TransfrmMatrix", "key TransfrmMatrix", "write TransformMatrix"),
    "key in small letters": (b"ElementSpacing", b"elementspacing", "key elementspacing", "write ElementSpacing"),
    "no spacing": (b"ElementSpacing", b"Comment", "has no ElementSpacing", "the true one"),
    "spacing of two axes": (b"Spacing = 1 1 1", b"Spacing = 1 1", "ElementSpacing = 1 1, where 3", "true geometry"),
    "direction of two axes": (b"Matrix = 1 0 0 ", b"Matrix = ", "TransformMatrix = 0 1 0 .*, where 9", "true geometry"),
    "stretched direction": (b"Matrix = 1 0 0 ", b"Matrix = 2 0 0 ", r"lengths \[2.0, 1.0, 1.0\]", "true geometry"),
    "joined lines": (b"\nTransformMatrix", b" TransformMatrix", "a key within the value .*TransformMatrix = 1", "line"),
    "too small": (b"DimSize = 20", b"DimSize = 2", "400 bytes of voxels expected, 4000 found", AGAIN),
    "more packed bytes": (b"CompressedDataSize = ", b"CompressedDataSize = 9", "packed bytes expected", AGAIN),
    "damaged flag": (b"BinaryData = T", b"BinaryData = U", "BinaryData = Urue", AGAIN),
    "a rescaling": (b"Offset = 0", b"ElementToIntensityFunctionSlope = 2\nOffset = 0", "FunctionSlope = 2", "rescaled"),
    "unknown unit": (b"Offset = 0", b"DistanceUnits = pixel\nOffset = 0", "units pixel", "true geometry"),
    "no voxels": (b"LOCAL", b"away.raw", "voxels' file 'away.raw' is missing", "both files into one folder"),
    "another file": (b"ObjectType", b"<svg>\n", "does not begin with a MetaImage header", AGAIN),
}


@pytest.mark.parametrize("case", META)
def test_a_malformed_metaimage_is_refused(tmp_path, case):
    old, new, finding, remedy = META[case]
    whole = written(tmp_path / "a.mha", compressed=True)
    assert old in whole
    (tmp_path / "a.mha").write_bytes(whole.replace(old, new, 1))
    refused(read_volume, tmp_path / "a.mha", finding, remedy)


NRRD = {
    "zero spacing": (b"(1,0,0)", b"(0,0,0)", "is truncated or damaged .*spacing", "repair its header"),
    "NaN spacing": (b"(1,0,0)", b"(nan,0,0)", "is truncated or damaged", "repair its header"),
    "NaN origin": (b"origin: (0,", b"origin: (nan,", r"space origin \(nan,0,0\)", "true geometry"),
    "no spacing": (b"space directions", b"#", "states no spacings", "in mm"),
    "an axis without direction": (b"(1,0,0)", b"none", "space directions none", "in mm"),
    "unknown unit": (
        b"space origin",
        b'space units: "pixel" "pixel" "pixel"\nspace origin',
        "units pixel",
        "true geometry",
    ),
    "a blank in a number": (b"(1,0,0)", b"(1 5,0,0)", r"space directions \(1 5,0,0\)", "true geometry"),
    "a damaged number": (b"(1,0,0)", b"(1&5,0,0)", r"space directions \(1&5,0,0\)", "true geometry"),
    "too small": (b"sizes: 20", b"sizes: 2", "400 bytes of voxels expected, 4000 found", AGAIN),
    "two units": (b"space origin", b'space units: "mm" "mm" "cm"\nspace origin', "units cm, mm", "true geometry"),
    "singular": (b"(1,0,0) (0,1,0)", b"(1,0,0) (1,0,0)", "is truncated or damaged", "repair its header"),
    "sheared": (b"(0,1,0)", b"(0.2,1,0)", "sheared by", "shear='resample'"),
    "too large": (b"sizes: 20", b"sizes: 99", "is truncated", AGAIN),
    "another file": (b"NRRD", b"DRRN", "is truncated or damaged", AGAIN),
}


@pytest.mark.parametrize("case", NRRD)
def test_a_malformed_nrrd_is_refused(tmp_path, case):
    old, new, finding, remedy = NRRD[case]
    whole = written(tmp_path / "a.nrrd", compressed=True)
    assert old in whole
    (tmp_path / "a.nrrd").write_bytes(whole.replace(old, new, 1))
    refused(read_volume, tmp_path / "a.nrrd", finding, remedy)


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd", "a.nhdr"])
def test_damaged_compressed_voxels_are_refused_wherever_the_damage_is(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 2000, (10, 10, 20), dtype=np.int16)
    written(tmp_path / name, compressed=True, array=noise)
    voxels = max(tmp_path.iterdir(), key=lambda path: path.stat().st_size)  # of a .nhdr a file of their own
    whole = voxels.read_bytes()
    for place in range(-50, -1000, -50):
        damaged = bytearray(whole)
        damaged[place] ^= 255
        voxels.write_bytes(damaged)
        refused(read_volume, tmp_path / name, "is truncated or damaged", AGAIN)


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_itk_voxels_are_checked_like_all_others(tmp_path, name):
    written(tmp_path / name, array=filled(NAN))
    refused(read_volume, tmp_path / name, "1 of 64 voxels are NaN or infinite", "--nan zero .*nan='zero'")
    written(tmp_path / name, array=np.zeros((4, 5), np.uint8))
    refused(read_volume, tmp_path / name, r"is a plane of size \(5, 4\)", "volume of one slice")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((3, 3, 3, 2)), isVector=True), tmp_path / name)
    refused(read_volume, tmp_path / name, "holds 2 channels", "channels=2")
    with pytest.raises(ScanError, match="where 4 was expected; put all 4 into one file, on its fourth axis"):
        read_volume(tmp_path / name, channels=4)


def test_spacings_that_nrrd_calls_unknown_are_refused_but_those_of_channels(tmp_path):
    header = b"NRRD0004\ntype: uint8\ndimension: %d\nsizes: %s\nspacings: %s\nencoding: raw\n\n" + bytes(8)
    (tmp_path / "a.nrrd").write_bytes(header % (3, b"2 2 2", b"nan 2 3"))
    refused(read_volume, tmp_path / "a.nrrd", "states the spacings nan 2 3", "write the true ones")
    (tmp_path / "a.nrrd").write_bytes(header % (4, b"2 2 2 1", b"1 2 3 nan"))
    assert read_volume(tmp_path / "a.nrrd").spacing == (3, 2, 1)


def test_a_nifti_in_disguise_does_not_slip_past_its_checks(tmp_path):
    (tmp_path / "a.nrrd").write_bytes(WHOLE[:2000])  # SimpleITK would read it by content, and fill it with zeros
    refused(read_volume, tmp_path / "a.nrrd", "is truncated or damaged", AGAIN)


class Command:
    """What a pickle must never get to run."""

    def __reduce__(self):
        return (print, ("the code in the file ran",))


def test_malformed_arrays_are_refused(tmp_path, capsys):
    np.save(tmp_path / "objects.npy", np.array([Command()], dtype=object), allow_pickle=True)
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(Command()))
    np.savez(tmp_path / "objects.npz", voxel=np.array([Command()], dtype=object))
    for name in ("objects.npy", "pickle.npy", "objects.npz"):
        refused(read_volume, tmp_path / name, "holds no plain array", "save numbers only")
    assert "ran" not in capsys.readouterr().out
    np.save(tmp_path / "cut.npy", np.zeros((4, 4, 4)))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-8])
    refused(read_volume, tmp_path / "cut.npy", "is damaged", AGAIN)
    np.savez(tmp_path / "two.npz", voxel=np.zeros((4, 4, 4)), seg=np.zeros((4, 4, 4)))
    refused(read_volume, tmp_path / "two.npz", r"\['voxel', 'seg'\], not None", "key=.voxel.")
    refused(read_volume, tmp_path / "two.npz", "not 'answer1'", "key=.voxel.", key="answer1")
    whole = (tmp_path / "two.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    refused(read_volume, tmp_path / "cut.npz", "is damaged", AGAIN, key="voxel")
    for shape, finding in (
        ((4, 4), r"shape \(4, 4\)"),
        ((2, 4, 4, 4, 4), r"shape \(2, 4"),
        ((0, 4, 4), "has no voxels"),
    ):
        np.save(tmp_path / "shape.npy", np.zeros(shape))
        refused(read_volume, tmp_path / "shape.npy", finding, "")
    np.save(tmp_path / "text.npy", np.full((4, 4, 4), "a"))
    refused(read_volume, tmp_path / "text.npy", "voxels are not numeric", "save one real number per voxel")
    np.save(tmp_path / "four.npy", np.zeros((2, 4, 4, 4)))
    refused(read_volume, tmp_path / "four.npy", "holds 2 channels", "channels=2")
    refused(read_volume, tmp_path / "four.npy", "2 channels or frames, where 3", "channels=2", channels=3)


def test_malformed_pictures_are_refused(tmp_path):
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:50])
    refused(read_volume, tmp_path / "cut.png", "cannot be read as a picture", AGAIN)
    (tmp_path / "none.jpg").write_bytes(b"no picture at all")
    refused(read_volume, tmp_path / "none.jpg", "cannot be read as a picture", AGAIN)
    Image.new("RGBA", (4, 4)).save(tmp_path / "alpha.png")
    refused(read_volume, tmp_path / "alpha.png", "picture of mode RGBA", "save it as grey or RGB")
    Image.new("RGB", (4, 4)).save(tmp_path / "colour.png")
    refused(read_volume, tmp_path / "colour.png", "holds 3 channels", "channels=3")


def test_paths_that_are_no_scan_are_refused(tmp_path):
    refused(read_volume, tmp_path / "missing.nii.gz", "does not exist", "check the path")
    refused(read_volume, tmp_path, "folder without DICOM slices", "give a file")
    (tmp_path / "notes.txt").write_text("no scan")
    refused(read_volume, tmp_path / "notes.txt", r"unknown suffix '.txt'", r"\.nii \.nii\.gz \.nrrd")


def test_files_beside_scans_are_named_for_what_they_are(tmp_path):
    (tmp_path / "._a.nii.gz").write_bytes(bytes.fromhex("0005160700020000") + bytes(100))
    refused(read_volume, tmp_path / "._a.nii.gz", "macOS", "give a.nii.gz")
    for name in ("pair/a.hdr", "pair/a.img", "arrays/a.npy", "arrays/b.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(400))
    refused(read_volume, tmp_path / "pair/a.hdr", "Analyze or NIfTI pair", "convert it to .nii.gz")
    refused(read_volume, tmp_path / "pair", "no DICOM slices but 2 files of .hdr, .img", "convert it to .nii.gz")
    refused(read_volume, tmp_path / "arrays", "no DICOM slices but 2 files of .npy", r"pattern such as 'arrays/\*.npy'")


def test_options_that_a_format_does_not_know_are_refused(tmp_path):
    (tmp_path / "a.nii").write_bytes(WHOLE)
    refused(read_volume, tmp_path / "a.nii", "knows no key, spacing", "leave", key="voxel", spacing=(1.0, 1.0, 1.0))
    refused(read_volume, tmp_path / "a.nii", "holds 1 channels or frames, where 4", "channels=1", channels=4)
    with pytest.raises(ValueError, match="shear='resampel' is unknown; choose one of"):
        read_volume(tmp_path / "a.nii", shear="resampel")
    with pytest.raises(ValueError, match="nan='keep' is unknown; choose one of"):
        read_volume(tmp_path / "a.nii", nan="keep")
