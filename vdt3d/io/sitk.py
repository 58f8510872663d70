"""NRRD and MetaImage (MHA, MHD) through SimpleITK; arrays are (C, D, H, W), world axes RAS+ (SimpleITK's are LPS+)."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import SimpleITK

from vdt3d.io.checks import AGAIN, ScanError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
META_BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}
META_GEOMETRY = ("ElementSpacing", "ElementSize", "Offset", "Position", "Origin", "TransformMatrix", "Rotation")


def read_sitk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (C, z, y, x) and the affine; a vector per voxel or a fourth axis become channels.

    Raises:
        ScanError: the file is damaged, cut short, or no volume.
    """
    is_meta = path.suffix.lower() in (".mha", ".mhd")
    (_check_metaimage if is_meta else _check_nrrd)(path)
    try:  # the format is named, since by content SimpleITK would read a renamed NIfTI too, without our checks
        image = SimpleITK.ReadImage(str(path), imageIO="MetaImageIO" if is_meta else "NrrdImageIO")
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        finding = f"is truncated or damaged (SimpleITK: {reason})"
        raise ScanError(path, finding, f"repair its header, or {AGAIN}") from error
    if image.GetDimension() < 3:
        raise ScanError(path, f"is a plane of size {image.GetSize()}", "save it as a volume of one slice")
    array = SimpleITK.GetArrayFromImage(image)  # the view of a temporary image would crash Python
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, -1, 0)
    return array.reshape(math.prod(array.shape[:-3]), *array.shape[-3:]), _affine(image)


def _affine(image: SimpleITK.Image) -> np.ndarray:
    dimensions = image.GetDimension()
    direction = np.reshape(image.GetDirection(), (dimensions, dimensions))[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = (direction * image.GetSpacing()[:3])[:, ::-1]  # columns x, y, z become z, y, x
    affine[:3, 3] = image.GetOrigin()[:3]
    return LPS_TO_RAS @ affine


def _check_metaimage(path: Path) -> None:
    """Refuse what SimpleITK reads without a word: NaN or negative geometry, and compressed voxels that end early.

    The format: https://docs.itk.org/en/latest/learn/metaio.html
    """
    header, size = _metaimage_header(path)
    try:
        geometry = {key: np.array(header[key].split(), dtype=float) for key in META_GEOMETRY if key in header}
        wanted = META_BYTES[header["ElementType"].removeprefix("MET_").removeprefix("U").removesuffix("_ARRAY")]
        wanted *= int(header.get("ElementNumberOfChannels", "1"))
        wanted *= math.prod(int(n) for n in header["DimSize"].split())
        packed = int(header["CompressedDataSize"]) if header.get("CompressedData", "").lower() == "true" else None
    except (KeyError, ValueError) as error:
        raise ScanError(path, f"its header is damaged or incomplete ({error})", AGAIN) from error
    for key, numbers in geometry.items():
        if not np.isfinite(numbers).all() or (key.startswith("ElementS") and (numbers <= 0).any()):
            raise ScanError(path, f"its header states {key} = {header[key]}", "write the true geometry into it")
    name = header["ElementDataFile"]
    source, begin = (path, size) if name.upper() == "LOCAL" else (path.parent / name, 0)
    if not source.is_file():
        raise ScanError(path, f"its voxels' file '{name}' is missing", "put both files into one folder")
    found = _payload_bytes(path, source, begin, packed)
    if found < wanted:
        raise ScanError(path, f"is truncated: {wanted} bytes of voxels expected, {found} found", AGAIN)


def _payload_bytes(path: Path, source: Path, begin: int, packed: int | None) -> int:
    """How many bytes of voxels ``source`` holds from ``begin`` on, after unpacking ``packed`` bytes where it is set."""
    if packed is None:
        return source.stat().st_size - begin
    try:
        return len(zlib.decompress(source.read_bytes()[begin : begin + packed]))
    except zlib.error as error:
        raise ScanError(path, f"is truncated or damaged ({error})", AGAIN) from error


def _check_nrrd(path: Path) -> None:
    """Refuse what SimpleITK reads without a word: an unknown spacing, which becomes 1, and gzip voxels that damage has
    made more than announced, since it stops before their checksum.

    The format: https://teem.sourceforge.net/nrrd/format.html
    """
    header, size = _nrrd_header(path)
    spacings = header.get("spacings", "").lower().split()
    if "space directions" not in header and spacings.count("nan") > max(len(spacings) - 3, 0):  # of channels it is nan
        raise ScanError(path, f"its header states the spacings {header['spacings']}", "write the true ones into it")
    name = header.get("data file") or header.get("datafile")
    source, begin = (path.parent / name, 0) if name else (path, size)
    if header.get("encoding", "").lower() not in ("gzip", "gz") or not source.is_file():
        return  # the rest SimpleITK notices
    try:
        with source.open("rb") as stream:
            stream.seek(begin)
            with gzip.open(stream) as voxels:
                while voxels.read(1 << 20):
                    pass
    except (EOFError, OSError, zlib.error) as error:
        raise ScanError(path, f"is truncated or damaged ({error})", AGAIN) from error


def _nrrd_header(path: Path) -> tuple[dict[str, str], int]:
    """The lines ``key: value`` up to the blank one or the file's end, and the bytes they take."""
    header = {}
    with path.open("rb") as stream:
        while line := stream.readline(1 << 16).decode("latin-1").strip():
            key, _, value = line.partition(":")
            header[key.strip().lower()] = value.strip()
        return header, stream.tell()


def _metaimage_header(path: Path) -> tuple[dict[str, str], int]:
    """The lines ``key = value`` up to ElementDataFile, and the bytes they take."""
    header = {}
    with path.open("rb") as stream:
        while "ElementDataFile" not in header:
            key, equals, value = stream.readline(4096).decode("latin-1").partition("=")
            if not equals:
                raise ScanError(path, "does not begin with a MetaImage header", AGAIN)
            header[key.strip()] = value.strip()
        return header, stream.tell()
