"""Readings of the random inputs by other means than the project's, and what the project reads the same with.

NIfTI: SimpleITK, with NIfTI-2 rewritten as NIfTI-1
(project: own code on nibabel's header). DICOM: SimpleITK's GDCM for voxels, rescaling and geometry
(project: pydicom). NRRD, MetaImage: a parser of their text headers and zlib (project: SimpleITK). NumPy files:
``ast.literal_eval`` of the header and ``zipfile`` (project: ``numpy.load``). PNG: OpenCV (project: Pillow). Tables:
the csv module (project: pandas). Run lengths: a loop over their numbers (project: arrays of all runs). Overrides:
Python executes the config file, and the truth about the command line is known, since the test made it (project:
mmengine).

What is not independent: both sides hold voxels in NumPy arrays, zlib unpacks gzip, zip and PNG for all of them, and
Python decodes text. The reference values of a damaged file are those of the judge where it reads the file, else those
of the file before the damage.
"""

import ast
import csv
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import SimpleITK

Content = Mapping[str, Any]  # parts by name: arrays or lists
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def array_of(data: bytes, dtype: np.dtype, shape: Iterable[int]) -> np.ndarray:
    """Return voxels (z, y, x) of bytes whose first axis is the fastest.

    Args:
        shape: (x, y, z).

    Raises:
        ValueError: there are more or fewer bytes than voxels take, or there are no three axes.
    """
    x, y, z = shape
    if min(x, y, z) < 1 or len(data) != x * y * z * dtype.itemsize:
        raise ValueError(f"{len(data)} bytes for {x} x {y} x {z} voxels of {dtype}")
    return np.frombuffer(data, dtype).reshape(z, y, x)


def affine_of(axes: Any, origin: Any) -> np.ndarray:
    """Return the affine (4, 4) of array axes x, y, z, whose steps are the columns of ``axes`` (3, 3)."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes, origin
    return affine


def itk_content(image: SimpleITK.Image) -> Content:
    """Return voxels (z, y, x) and the affine (RAS+, mm) of a SimpleITK image.

    Raises:
        ValueError: the image has not three axes, or several numbers per voxel.
    """
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError("another number of axes")
    affine = affine_of(np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing(), image.GetOrigin())
    return {"voxels": SimpleITK.GetArrayFromImage(image), "affine": LPS_TO_RAS @ affine}


# ---- NIfTI ----

FIELDS = (  # layout in NIfTI-1 and NIfTI-2, and the places where these begin: the standard's nifti1.h and nifti2.h
    *(("8h", 40, "8q", 16), ("h", 70, "h", 12), ("h", 72, "h", 14), ("8f", 76, "8d", 104), ("2f", 112, "2d", 176)),
    *(("B", 123, "i", 500), ("2h", 252, "2i", 344), ("18f", 256, "18d", 352)),
)


def nifti_content(path: Path) -> Content:
    """Read a NIfTI file with SimpleITK, which gets NIfTI-2, that it does not know, as NIfTI-1.

    Raises:
        ValueError: a field of NIfTI-2 does not fit into NIfTI-1.
        RuntimeError: SimpleITK cannot read the file.
    """
    raw = path.read_bytes()
    raw = zlib.decompress(raw, wbits=31) if path.suffix == ".gz" else raw
    order = {(540).to_bytes(4, "little"): "<", (540).to_bytes(4, "big"): ">"}.get(raw[:4])
    raw = raw if order is None else nifti1(raw, order)
    with TemporaryDirectory() as folder:
        copy = Path(folder, "scan.nii")
        copy.write_bytes(raw)
        content = itk_content(SimpleITK.ReadImage(copy, imageIO="NiftiImageIO"))
    return {**content, "affine": exact_sform(raw, content)}


def exact_sform(raw: bytes, content: Content) -> np.ndarray:
    """Return the sform of NIfTI-1 where its corners are ITK's to a tenth of a voxel, else ITK's affine.

    ITK straightens the axes of an sform and takes their steps from pixdim. By the standard the sform is the affine.
    Where its steps are not pixdim's to a thousandth, the header contradicts itself, and ITK's choice stands.
    """
    affine, corner = content["affine"], [*content["voxels"].shape[::-1], 1]
    order = "<" if raw[:4] == (348).to_bytes(4, "little") else ">"
    (code,) = struct.unpack_from(order + "h", raw, 254)
    sform = np.eye(4)
    sform[:3] = np.reshape(struct.unpack_from(order + "12f", raw, 280), (3, 4))
    sform[:3] *= {1: 1e3, 3: 1e-3}.get(raw[123] & 7, 1)  # metres and micrometres
    steps, scale = (np.linalg.norm(each[:3, :3], axis=0) for each in (affine, sform))
    near = (np.abs(sform - affine)[:3] @ corner).max() < 0.1 * steps.min()
    return sform if code > 0 and near and np.allclose(scale, steps, rtol=1e-3, atol=0) else affine


def nifti1(raw: bytes, order: str) -> bytes:
    """Return a NIfTI-2 file, whose byte order is "<" or ">", as NIfTI-1."""
    if not raw[4:].startswith(b"n+2\0"):
        raise ValueError("no NIfTI-2")
    head = bytearray(352)
    try:
        for layout, place, layout2, place2 in FIELDS:
            struct.pack_into(order + layout, head, place, *struct.unpack_from(order + layout2, raw, place2))
    except (struct.error, OverflowError) as error:
        raise ValueError(f"no NIfTI-1 can hold it: {error}") from error
    struct.pack_into(order + "i", head, 0, 348)
    struct.pack_into(order + "f", head, 108, 352)
    head[344:348] = b"n+1\0"
    (begin,) = struct.unpack_from(order + "q", raw, 168)
    return bytes(head) + raw[begin:]


# ---- NRRD and MetaImage ----

NRRD_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    "float": "f4",
    "double": "f8",
}
NRRD_SPACES = {  # signs that lead to RAS+
    **dict.fromkeys(("left-posterior-superior", "lps"), (-1, -1, 1)),
    **dict.fromkeys(("left-anterior-superior", "las"), (-1, 1, 1)),
    **dict.fromkeys(("right-anterior-superior", "ras"), (1, 1, 1)),
}


def nrrd_content(path: Path) -> Content:
    """Read an NRRD file of one part: https://teem.sourceforge.net/nrrd/format.html."""
    head, blank, data = path.read_bytes().partition(b"\n\n")
    magic, *lines = head.decode("latin-1").split("\n")
    if not re.fullmatch("NRRD000[1-5]", magic) or not blank:
        raise ValueError("no NRRD")
    pairs = [line.split(": ", 1) for line in lines if ": " in line and not line.startswith("#")]
    field = {name.lower(): value.strip() for name, value in pairs}
    if field["dimension"] != "3" or field["encoding"] not in ("raw", "gzip", "gz"):
        raise ValueError("no volume, or an encoding that is not known")
    if field["encoding"] != "raw":
        data = zlib.decompress(data, wbits=31)
    order = {"little": "<", "big": ">"}[field.get("endian", "little").lower()]
    vectors = re.findall(r"\(([^)]*)\)", field["space directions"])
    axes = np.array([[float(number) for number in vector.split(",")] for vector in vectors]).T
    # The standard leaves the origin open; ITK's is 0 then.
    (origin,) = re.findall(r"^\(([^)]*)\)$", field.get("space origin", "(0,0,0)"))
    affine = affine_of(axes, [float(number) for number in origin.split(",")])
    sign = np.diag([*NRRD_SPACES[field["space"].lower()], 1])
    dtype = np.dtype(order + NRRD_TYPES[field["type"].lower()])
    return {"voxels": array_of(data, dtype, map(int, field["sizes"].split())), "affine": sign @ affine}


META_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


def metaimage_content(path: Path) -> Content:
    """Read a MetaImage file of one part: https://docs.itk.org/en/latest/learn/metaio.html."""
    head, end, data = path.read_bytes().partition(b"ElementDataFile = LOCAL\n")
    pairs = [line.split(" = ", 1) for line in head.decode("latin-1").rstrip("\n").split("\n")]
    field = {name: value.strip() for name, value in pairs}
    flag = {"True": True, "False": False}
    if not end or field["ObjectType"] != "Image" or field["NDims"] != "3" or not flag[field["BinaryData"]]:
        raise ValueError("no volume of one file")
    if flag[field["CompressedData"]]:
        packed, size = data, int(field["CompressedDataSize"])
        data = zlib.decompress(packed[:size])
        if len(packed) < size:
            raise ValueError("cut short")
    order = ">" if flag[field["BinaryDataByteOrderMSB"]] else "<"
    dtype = np.dtype(order + META_TYPES[field["ElementType"]])
    spacing = np.array(field["ElementSpacing"].split(), float)
    # Directions and offset are optional: their defaults are the world's axes and 0.
    axes = (
        np.array(field.get("TransformMatrix", "1 0 0 0 1 0 0 0 1").split(), float).reshape(3, 3).T * spacing
    )  # stored axis by axis
    affine = affine_of(axes, np.array(field.get("Offset", "0 0 0").split(), float))
    return {"voxels": array_of(data, dtype, map(int, field["DimSize"].split())), "affine": LPS_TO_RAS @ affine}


# ---- NumPy files and pictures ----


def numpy_content(path: Path) -> Content:
    """Read an .npy, or the only array of an .npz: numpy.lib.format describes them."""
    data = path.read_bytes()
    if path.suffix == ".npz":
        with zipfile.ZipFile(path) as file:
            (name,) = file.namelist()
            data = file.read(name)
    if data[:6] != b"\x93NUMPY" or data[6] not in (1, 2, 3):
        raise ValueError("no NumPy file")
    begin = 10 if data[6] == 1 else 12
    end = begin + int.from_bytes(data[8:begin], "little")
    header = ast.literal_eval(data[begin:end].decode("latin-1").strip())
    shape, dtype = header["shape"], np.dtype(header["descr"])
    if set(header) != {"descr", "fortran_order", "shape"} or len(shape) != 3 or dtype.hasobject:
        raise ValueError("no volume of numbers")
    data = data[end : end + int(np.prod(shape)) * dtype.itemsize]  # what follows is another array's
    if header["fortran_order"]:
        return {"voxels": array_of(data, dtype, shape).T, "affine": np.eye(4)}
    return {"voxels": array_of(data, dtype, shape[::-1]), "affine": np.eye(4)}


def slices_content(folder: Path) -> Content:
    """Read a folder of grey PNG with OpenCV, in the order of the last numbers in their names.

    A folder that lacks its first or last slice is a valid one of fewer slices; any other lacks a number.

    Raises:
        ValueError: they make up no volume, or two have one number.
    """
    files = {int(re.findall(r"\d+", path.stem)[-1]): path for path in folder.iterdir()}
    planes = [cv2.imread(str(files[number]), cv2.IMREAD_UNCHANGED) for number in sorted(files)]
    gaps = np.diff(sorted(files)) != 1
    if gaps.any() or len(list(folder.iterdir())) != len(files) or any(plane is None for plane in planes):
        raise ValueError("slices that are missing, doubled or damaged")
    if len({(plane.shape, plane.dtype) for plane in planes}) > 1:
        raise ValueError("slices that differ")
    return {"voxels": np.stack(planes), "affine": np.eye(4)}


# ---- DICOM ----

UID, *PLACE = "0020|000e", "0020|0032", "0020|0037", "0028|0030"


def dicom_content(folder: Path) -> Content:
    """Read a series file by file with GDCM; PS3.3, C.7.6.2.1.1 (places) and C.11.1 (values) join the slices.

    Raises:
        ValueError: the slices make up no volume.
        RuntimeError: GDCM cannot read one of them.
    """
    images = [gdcm_slice(path) for path in sorted(folder.glob("*.dcm"))]
    normal = np.reshape(images[0].GetDirection(), (3, 3))[:, 2]
    images.sort(key=lambda image: float(normal @ image.GetOrigin()))
    grids = np.array([(*image.GetDirection(), *image.GetSpacing()[:2], *image.GetSize()) for image in images])
    if len({image.GetMetaData(UID).strip() for image in images}) > 1 or np.ptp(grids, axis=0).max() > 1e-4:
        raise ValueError("slices that do not belong together")
    places = np.array([image.GetOrigin() for image in images])
    steps = np.diff(places, axis=0)
    if (np.linalg.norm(steps, axis=1) < 1e-3).any() or np.ptp(steps, axis=0).max() > 0.1 * np.linalg.norm(steps[0]):
        raise ValueError("slices at one place, or one missing")
    axes = np.reshape(images[0].GetDirection(), (3, 3)) * images[0].GetSpacing()
    axes[:, 2] = (places[-1] - places[0]) / (len(places) - 1)
    planes = [SimpleITK.GetArrayFromImage(image)[0] for image in images]
    return {"voxels": np.stack(planes), "affine": LPS_TO_RAS @ affine_of(axes, places[0])}


def gdcm_slice(path: Path) -> SimpleITK.Image:
    """Read one slice; ITK inverts MONOCHROME1, which is for display alone (PS3.3, C.7.6.3.1.2), so it gets another."""
    with TemporaryDirectory() as folder:
        copy = Path(folder, "slice.dcm")
        copy.write_bytes(path.read_bytes().replace(b"MONOCHROME1 ", b"MONOCHROME2 "))
        image = SimpleITK.ReadImage(copy, imageIO="GDCMImageIO")
    if not all(map(image.HasMetaDataKey, (UID, *PLACE))):
        raise ValueError("a slice without a place")  # for which ITK would take 0, 0, 0 and 1 mm
    return image


# ---- tables ----


def csv_rows(path: Path, **options: Any) -> list[dict[str, str]]:
    """Read the rows of a table by column.

    Raises:
        ValueError: a row has more or fewer cells than the header, or two columns have one name.
    """
    text = path.read_bytes().decode("utf-8-sig")
    header, *rows = filter(None, csv.reader(io.StringIO(text, newline=""), strict=True, **options))
    if len(set(header)) < len(header) or any(len(row) != len(header) for row in rows):
        raise ValueError("cells without a column, or a column twice")
    return [dict(zip(header, row, strict=True)) for row in rows]


def labels_content(path: Path) -> Content:
    """Return the rows (path, target) of a table of labels, sorted."""
    rows = [(row["path"].strip(), row["target"].strip()) for row in csv_rows(path, skipinitialspace=True)]
    paths, targets = map(set, zip(*rows, strict=True))
    if "" in paths | targets or len(paths) < len(rows) or len(targets) < 2:
        raise ValueError("blank cells, a path twice, or one class")
    return {"rows": sorted(rows)}


def run_lengths_content(path: Path, case: str, organs: tuple[str, ...], shape: tuple[int, int, int]) -> Content:
    """Return the labels (D, H, W) of slices 1 to D of a case, a bit for each organ."""
    rows = csv_rows(path)
    codes = {(row["id"], row["class"]): row["segmentation"] for row in rows}
    if len(codes) < len(rows):
        raise ValueError("a row twice")
    labels = np.zeros((shape[0], shape[1] * shape[2]), np.uint8)
    for number, plane in enumerate(labels, start=1):
        for bit, organ in enumerate(organs):
            end, numbers = 1, [int(word) for word in codes[f"{case}_slice_{number:04d}", organ].split()]
            for begin, length in zip(numbers[::2], numbers[1::2], strict=True):
                if begin < end or length < 1 or begin + length > plane.size + 1:
                    raise ValueError("a run beside the image or over another")
                end = begin + length
                plane[begin - 1 : end - 1] |= 1 << bit
    return {"labels": labels.reshape(shape)}


def config_content(source: str, key: str, value: object, **added: object) -> dict[str, Any]:
    """Return the settings of a config file as Python executes it, one of them replaced.

    Args:
        source: text of the file.
        key: parts joined by dots.
        added: settings that the command line adds.
    """
    settings: dict[str, Any] = {}
    exec(source, settings)
    del settings["__builtins__"]
    place: Any = settings
    *parents, last = key.split(".")
    for name in parents:
        place = place[name]
    place[last] = value
    return settings | added
