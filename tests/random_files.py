"""Random scans of each format and ways to damage them, for ``random_inputs``."""

import contextlib
import gzip
import io
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK
from dicoms import write_ct
from PIL import Image
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from random_judges import (
    Content,
    dicom_content,
    metaimage_content,
    nifti_content,
    nrrd_content,
    numpy_content,
    slices_content,
)

from vdt3d.io import read_volume

TYPES = ("uint8", "int16", "uint16", "int32", "float32", "float64")


class Input(NamedTuple):
    """Input of one reader.

    Fields:
        read: the project's reading.
        judge: an independent reading (``random_judges``); it raises where that refuses the input.
        damages: functions that spoil the files in place, by name.
    """

    read: Callable[[], Content]
    judge: Callable[[], Content]
    damages: Mapping[str, Callable[[], None]]


# ---- damages ----


def flip(path: Path, rng: np.random.Generator, begin: int, end: int) -> None:
    """Change one bit between two places."""
    raw = bytearray(path.read_bytes())
    raw[rng.integers(begin, min(end, len(raw)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(raw)


def cut(path: Path, rng: np.random.Generator) -> None:
    """Keep a part of a file."""
    raw = path.read_bytes()
    path.write_bytes(raw[: rng.integers(0, len(raw))])


def file_damages(path: Path, rng: np.random.Generator, header: int) -> dict[str, Callable[[], None]]:
    """Damages of a file whose header takes ``header`` bytes; half of the draws are byte flips within it."""
    flips = {f"header flip {number}": lambda: flip(path, rng, 0, header) for number in range(4)}
    return {
        **flips,
        "flip": lambda: flip(path, rng, 0, path.stat().st_size),
        "cut": lambda: cut(path, rng),
        "cut in header": lambda: path.write_bytes(path.read_bytes()[: rng.integers(0, header)]),
        "bytes appended": lambda: path.write_bytes(path.read_bytes() + rng.bytes(int(rng.integers(1, 50)))),
    }


# ---- scans in one file ----


def random_array(rng: np.random.Generator, types: tuple[str, ...] = TYPES) -> np.ndarray:
    """Numbers (z, y, x), among them the least and greatest of their type."""
    dtype = np.dtype(rng.choice(types))
    shape = rng.integers(2, 9, 3)
    if dtype.kind == "f":
        return rng.normal(scale=1000, size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    array = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    array.flat[:2] = limits.min, limits.max
    return array


def random_axes(rng: np.random.Generator) -> np.ndarray:
    """Directions of x, y and z as columns: a rotation, some axes exchanged and mirrored."""
    angles = rng.choice([0.0, rng.uniform(-0.6, 0.6)], 3)
    rotation = np.eye(3)
    for (one, other), angle in zip(itertools.combinations(range(3), 2), angles, strict=True):
        turn = np.eye(3)
        turn[[one, other], [one, other]] = np.cos(angle)
        turn[one, other], turn[other, one] = -np.sin(angle), np.sin(angle)
        rotation = rotation @ turn
    return rotation[:, rng.permutation(3)] * rng.choice([-1, 1], 3)


def as_read(path: Path, **options: Any) -> Content:
    volume = read_volume(path, **options)
    return {"voxels": volume.array[0], "affine": volume.affine[:, [2, 1, 0, 3]]}


def nifti(folder: Path, rng: np.random.Generator) -> Input:
    """NIfTI-1 and NIfTI-2, either byte order, packed or plain, scaled or not, by sform, qform or both."""
    kind = nib.Nifti1Image if rng.random() < 0.8 else nib.Nifti2Image
    affine = np.eye(4)
    affine[:3, :3] = random_axes(rng) * rng.uniform(0.3, 8, 3)
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    image = kind(random_array(rng), affine, dtype="compat" if rng.random() < 0.1 else None)
    image.set_data_dtype(image.dataobj.dtype)
    codes = [(1, 0), (0, 1), (1, 1), (2, 4), (4, 0), (0, 3)][rng.integers(6)]
    image.set_sform(affine, codes[0])
    image.set_qform(affine, codes[1])
    image.header.set_xyzt_units(["mm", "meter", "micron", "unknown"][rng.integers(4)] if rng.random() < 0.3 else "mm")
    raw = bytearray(image.to_bytes())
    if rng.random() < 0.3:  # a slope and an intercept, whose places are those of NIfTI-1
        swapped = image.header.endianness == ">"
        if kind is nib.Nifti1Image and not swapped:
            raw[112:120] = np.array([rng.uniform(0.1, 3), rng.uniform(-1000, 100)], "<f4").tobytes()
    zipped = rng.random() < 0.5
    path = folder / ("scan.nii.gz" if zipped else "scan.nii")
    path.write_bytes(gzip.compress(bytes(raw)) if zipped else bytes(raw))
    header = 352 if kind is nib.Nifti1Image else 544

    def unpacked(damage: Callable[[Path], None]) -> None:
        plain = folder / "plain"
        plain.write_bytes(gzip.decompress(path.read_bytes()))
        damage(plain)
        path.write_bytes(gzip.compress(plain.read_bytes()))

    damages = file_damages(path, rng, header)
    if zipped:
        damages |= {
            f"header flip {number}": lambda: unpacked(lambda plain: flip(plain, rng, 0, header)) for number in range(4)
        }
        damages["cut before packing"] = lambda: unpacked(lambda plain: cut(plain, rng))
    return Input(lambda: as_read(path), lambda: nifti_content(path), damages)


def itk_image(rng: np.random.Generator) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(random_array(rng))
    image.SetSpacing(rng.uniform(0.3, 8, 3).round(int(rng.integers(1, 6))).clip(0.1).tolist())
    image.SetOrigin(rng.uniform(-200, 200, 3).tolist())
    image.SetDirection(random_axes(rng).ravel().tolist())
    return image


def itk_file(path: Path, rng: np.random.Generator, judge: Callable[[Path], Content], end: bytes) -> Input:
    """A file that SimpleITK writes, packed or plain, and whose header ends with ``end``."""
    SimpleITK.WriteImage(itk_image(rng), path, useCompression=bool(rng.random() < 0.5))

    def without_a_line() -> None:
        head, mark, voxels = path.read_bytes().partition(end)
        lines = head.split(b"\n")
        del lines[rng.integers(1, len(lines))]
        path.write_bytes(b"\n".join(lines) + mark + voxels)

    damages = file_damages(path, rng, path.read_bytes().index(end))
    return Input(lambda: as_read(path), lambda: judge(path), {**damages, "without a header line": without_a_line})


def nrrd(folder: Path, rng: np.random.Generator) -> Input:
    return itk_file(folder / "scan.nrrd", rng, nrrd_content, b"\n\n")


def metaimage(folder: Path, rng: np.random.Generator) -> Input:
    return itk_file(folder / "scan.mha", rng, metaimage_content, b"ElementDataFile = LOCAL\n")


def numpy_file(folder: Path, rng: np.random.Generator) -> Input:
    """An .npy, or an .npz with one array."""
    array = random_array(rng)
    if rng.random() < 0.3:
        array = np.asfortranarray(array)
    if packed := rng.random() < 0.5:
        path = folder / "scan.npz"
        np.savez_compressed(path, volume=array)
    else:
        path = folder / "scan.npy"
        np.save(path, array)

    return Input(lambda: as_read(path), lambda: numpy_content(path), file_damages(path, rng, 128 if not packed else 60))


# ---- folders of slices ----


def slices(folder: Path, rng: np.random.Generator) -> Input:
    """A folder of grey PNG, 8 or 16 bits."""
    array = random_array(rng, ("uint8", "uint16"))
    first, digits = int(rng.integers(0, 20)), int(rng.integers(1, 5))
    scan = folder / "slices"
    scan.mkdir()
    for number, plane in enumerate(array, start=first):
        Image.fromarray(plane).save(scan / f"slice_{number:0{digits}d}.png")
    one = sorted(scan.iterdir())[rng.integers(len(array))]

    damages = {
        **file_damages(one, rng, 60),
        "one of another size": lambda: Image.fromarray(array[0][:1]).save(one),
        "one of another kind": lambda: Image.fromarray(np.zeros((*array.shape[1:], 3), np.uint8)).save(one),
        "one missing": one.unlink,
        "one twice": lambda: (scan / f"again_{one.name}").write_bytes(one.read_bytes()),
    }
    return Input(lambda: as_read(scan), lambda: slices_content(scan), damages)


def dicom(folder: Path, rng: np.random.Generator) -> Input:
    """A CT or PET series, oblique or not, its rescaling the same for all slices or not."""
    array = rng.integers(-1000, 3000, rng.integers(2, 7, 3))
    axes = random_axes(rng)
    signed = rng.random() < 0.3
    header = {"PixelRepresentation": 1} if signed else {}
    if rng.random() < 0.2:
        header["PhotometricInterpretation"] = "MONOCHROME1"
    if rng.random() < 0.3:
        header |= {"RescaleSlope": round(rng.uniform(0.1, 3), 3), "RescaleIntercept": round(rng.uniform(-99, 99), 2)}
    spacing = tuple(rng.uniform(0.5, 6, 3).round(3).tolist())
    scan = folder / "series"
    files = write_ct(scan, array, spacing=spacing, orientation=tuple(axes[:, :2].T.ravel().round(9)), **header)
    if rng.random() < 0.3:
        for file in files:
            edit(file, RescaleSlope=round(rng.uniform(0.5, 2), 4), Modality="PT")
    one = files[rng.integers(len(files))]
    begin = one.read_bytes().index(b"\xe0\x7f\x10\x00")  # the tag of the voxels
    tags = ["SliceThickness", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "Rows"]
    tags += ["BitsStored", "RescaleIntercept", "PixelRepresentation", "BitsAllocated", "SeriesInstanceUID", "Columns"]

    def spoil_tag() -> None:
        odd = ["", None, 0, -1, 1e30, "1\\2\\3\\4", "nan", "1,5", 3.25]
        edit(one, **{str(rng.choice(tags)): odd[rng.integers(len(odd))]})

    def remove_tag() -> None:
        dataset = pydicom.dcmread(one)
        del dataset[str(rng.choice(tags))]
        dataset.save_as(one)

    damages = {
        **file_damages(one, rng, begin),
        "shuffled tags": lambda: shuffle_tags(one, rng),
        "odd value": spoil_tag,
        "tag removed": remove_tag,
        "one missing": one.unlink,
        "one twice": lambda: (scan / "again.dcm").write_bytes(one.read_bytes()),
        "text among them": lambda: (scan / "notes.txt").write_text("seen twice"),
    }
    return Input(lambda: as_read(scan), lambda: dicom_content(scan), damages)


def edit(path: Path, **header: Any) -> None:
    """Write elements of a DICOM file as they are, without pydicom's checks."""
    with pydicom.config.disable_value_validation():
        dataset = pydicom.dcmread(path)
        for name, value in header.items():
            with contextlib.suppress(ValueError, TypeError, OverflowError):  # no value of this type
                setattr(dataset, name, value)
        with contextlib.suppress(Exception):
            content = io.BytesIO()
            dataset.save_as(content)
            path.write_bytes(content.getvalue())


def shuffle_tags(path: Path, rng: np.random.Generator) -> None:
    """Write the elements of a DICOM file in another order than the standard's."""
    dataset = pydicom.dcmread(path)
    raw = path.read_bytes()
    start = raw.index(b"\x08\x00", 132 + 12 + int.from_bytes(raw[140:144], "little"))
    parts = []
    for element in dataset:
        single = pydicom.Dataset()
        single.add(element)
        stream = DicomBytesIO()
        stream.is_little_endian, stream.is_implicit_VR = True, False
        write_dataset(stream, single)
        parts.append(stream.getvalue())
    path.write_bytes(raw[:start] + b"".join(parts[at] for at in rng.permutation(len(parts))))
