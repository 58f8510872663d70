"""NRRD and MetaImage (MHA, MHD) through SimpleITK; arrays are (C, D, H, W), world axes RAS+ (SimpleITK's are LPS+)."""

import gzip
import math
import re
import zlib
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import SimpleITK

from vdt3d.io.checks import AGAIN, ScanError
from vdt3d.io.shear import TOLERANCE

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
META_BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}
META_GEOMETRY = (
    *("ElementSpacing", "ElementSize", "Offset", "Position", "Origin", "TransformMatrix", "Rotation", "Orientation"),
)
META_MATRICES = META_GEOMETRY[-3:]
META_VALUES = {"ElementToIntensityFunctionSlope": 1.0, "ElementToIntensityFunctionOffset": 0.0}  # ITK ignores both
# By the word in the name of a type of NRRD, of which the first one counts.
NRRD_BYTES = {"8": 1, "16": 2, "32": 4, "64": 8, "char": 1, "short": 2, "long": 8, "float": 4, "double": 8, "int": 4}
MILLIMETRES = {"mm": 1.0, "cm": 10.0, "m": 1e3, "um": 1e-3, "\N{MICRO SIGN}m": 1e-3, "nm": 1e-6}
UNSTATED = ("", "?", "???", "none")  # a unit that nobody wrote, which by custom is the millimetre
TRUE_GEOMETRY = "write the true geometry into it"


def read_sitk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read voxels (C, z, y, x) and the affine in mm; a vector per voxel or a fourth axis become channels.

    Raises:
        ScanError: the file is damaged, cut short, or no volume, or does not state the spacing of its voxels.
    """
    is_meta = path.suffix.lower() in (".mha", ".mhd")
    millimetres = (_check_metaimage if is_meta else _check_nrrd)(path)
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
    return array.reshape(math.prod(array.shape[:-3]), *array.shape[-3:]), _affine(path, image, millimetres)


def _affine(path: Path, image: SimpleITK.Image, millimetres: float) -> np.ndarray:
    dimensions = image.GetDimension()
    direction = np.reshape(image.GetDirection(), (dimensions, dimensions))[:3, :3]
    lengths = np.linalg.norm(direction, axis=0)
    upright = np.allclose(direction.T @ direction, np.diag(lengths**2), atol=TOLERANCE)
    if upright and not np.allclose(lengths, 1, atol=1e-3):  # a sheared one is refused, or resampled where declared
        finding = f"the directions of its axes have the lengths {lengths.round(4).tolist()}, where 1 was expected"
        raise ScanError(path, finding, TRUE_GEOMETRY)
    affine = np.eye(4)
    affine[:3, :3] = (direction * image.GetSpacing()[:3])[:, ::-1]  # columns x, y, z become z, y, x
    affine[:3, 3] = image.GetOrigin()[:3]
    affine[:3] *= millimetres
    return LPS_TO_RAS @ affine


def _check_metaimage(path: Path) -> float:
    """Return the millimetres in its unit of length; refuse what SimpleITK reads without a word.

    That is geometry which is missing, misspelt, incomplete, NaN or negative, values that are to be rescaled, and
    compressed voxels that end early. The format: https://docs.itk.org/en/latest/learn/metaio.html
    """
    header, size = _metaimage_header(path)
    _check_metaimage_keys(path, header)
    try:
        dimensions = int(header["NDims"])
        if header.get("BinaryData", "True").lower() not in ("true", "false"):
            raise ValueError(f"BinaryData = {header['BinaryData']}")
        rescaling = {key: float(header.get(key, usual)) for key, usual in META_VALUES.items()}
        geometry = {key: np.array(header[key].split(), dtype=float) for key in META_GEOMETRY if key in header}
        wanted = META_BYTES[header["ElementType"].removeprefix("MET_").removeprefix("U").removesuffix("_ARRAY")]
        wanted *= int(header.get("ElementNumberOfChannels", "1"))
        wanted *= math.prod(int(n) for n in header["DimSize"].split())
        packed = int(header["CompressedDataSize"]) if header.get("CompressedData", "").lower() == "true" else None
    except (KeyError, ValueError) as error:
        raise ScanError(path, f"its header is damaged or incomplete ({error})", AGAIN) from error
    for key, numbers in geometry.items():
        wanted_numbers = dimensions ** (2 if key in META_MATRICES else 1)
        impossible = not np.isfinite(numbers).all() or (key.startswith("ElementS") and (numbers <= 0).any())
        if impossible or len(numbers) != wanted_numbers:
            finding = f"its header states {key} = {header[key]}, where {wanted_numbers} numbers were expected"
            raise ScanError(path, finding, TRUE_GEOMETRY)
    if rescaling != META_VALUES:
        stated = ", ".join(f"{key} = {number:g}" for key, number in rescaling.items())
        raise ScanError(path, f"its header states {stated}, which ITK ignores", "save its voxels rescaled")
    name = header["ElementDataFile"]
    source, begin = (path, size) if name.upper() == "LOCAL" else (path.parent / name, 0)
    if not source.is_file():
        raise ScanError(path, f"its voxels' file '{name}' is missing", "put both files into one folder")
    found = _payload_bytes(path, source, begin, packed)
    if found < wanted or (found > wanted and "HeaderSize" not in header):
        what = "is truncated" if found < wanted else "does not fit its header"
        raise ScanError(path, f"{what}: {wanted} bytes of voxels expected, {found} found", AGAIN)
    return _millimetres(path, [header.get("DistanceUnits", "")])


def _check_metaimage_keys(path: Path, header: dict[str, str]) -> None:
    """Refuse a header without spacing, or whose keys of geometry are misspelt or begin no line: ITK ignores them."""
    if joined := [value for value in header.values() if any(key in value for key in (*META_GEOMETRY, "DimSize"))]:
        raise ScanError(path, f"its header has a key within the value {joined[0]}", "begin a line with it")
    keys = {key.lower(): key for key in (*META_GEOMETRY, *META_VALUES, "DistanceUnits") if key not in header}
    for key in header.keys() - {*META_GEOMETRY, *META_VALUES, "DistanceUnits"}:
        if close := get_close_matches(key.lower(), keys, 1, 0.8):
            raise ScanError(path, f"its header has the unknown key {key}", f"write {keys[close[0]]}, or rename it")
    if not {"ElementSpacing", "ElementSize"} & header.keys():
        raise ScanError(path, "its header has no ElementSpacing", "write the true one into it, in mm")


def _payload_bytes(path: Path, source: Path, begin: int, packed: int | None) -> int:
    """How many bytes of voxels ``source`` holds from ``begin`` on, after unpacking ``packed`` bytes where it is set."""
    if packed is None:
        return source.stat().st_size - begin
    try:
        content = source.read_bytes()[begin : begin + packed]
        if len(content) < packed:
            raise ScanError(path, f"is truncated: {packed} packed bytes expected, {len(content)} found", AGAIN)
        return len(zlib.decompress(content))
    except zlib.error as error:
        raise ScanError(path, f"is truncated or damaged ({error})", AGAIN) from error


def _millimetres(path: Path, units: list[str]) -> float:
    """Return the millimetres in a unit of length, which is that of all axes."""
    stated = sorted({unit for unit in units if unit not in UNSTATED})
    if not stated:
        return 1.0
    if len(stated) > 1 or stated[0] not in MILLIMETRES:
        expected = f"where one of {', '.join(MILLIMETRES)} was expected for all axes"
        raise ScanError(path, f"its header states the units {', '.join(stated)}, {expected}", TRUE_GEOMETRY)
    return MILLIMETRES[stated[0]]


def _check_nrrd(path: Path) -> float:
    """Return the millimetres in its unit of length; refuse what SimpleITK reads without a word.

    That is an unknown spacing, which becomes 1, numbers with other characters in between, and voxels that are more than
    announced, of which it also leaves out the checksum. The format: https://teem.sourceforge.net/nrrd/format.html
    """
    header, size = _nrrd_header(path)
    millimetres = _check_nrrd_geometry(path, header)
    name = header.get("data file") or header.get("datafile")
    source, begin = (path.parent / name, 0) if name else (path, size)
    encoding = header.get("encoding", "").lower()
    if encoding not in ("raw", "gzip", "gz") or not source.is_file():
        return millimetres  # the rest SimpleITK notices
    found = source.stat().st_size - begin
    if encoding != "raw":
        try:
            found = _gzip_bytes(source, begin)
        except (EOFError, OSError, zlib.error) as error:
            raise ScanError(path, f"is truncated or damaged ({error})", AGAIN) from error
    size_of = next((count for word, count in NRRD_BYTES.items() if word in header.get("type", "").lower()), 0)
    wanted = size_of * math.prod(int(n) for n in header.get("sizes", "0").split())
    if 0 < wanted < found and not {"byte skip", "byteskip", "line skip", "lineskip"} & header.keys():
        raise ScanError(path, f"does not fit its header: {wanted} bytes of voxels expected, {found} found", AGAIN)
    return millimetres


def _gzip_bytes(source: Path, begin: int) -> int:
    """Return how many bytes are packed in ``source`` from ``begin`` on; read to the end, they prove their checksum."""
    with source.open("rb") as stream:
        stream.seek(begin)
        with gzip.open(stream) as voxels:
            return sum(map(len, iter(lambda: voxels.read(1 << 20), b"")))


def _check_nrrd_geometry(path: Path, header: dict[str, str]) -> float:
    """Return the millimetres in its unit of length; refuse a header that does not place all three axes of space."""
    if header.get("dimension", "") in ("", "1", "2"):
        return 1.0  # it is no NRRD or no volume, which reading notices
    for key in ("dimension", "sizes", "spacings", "space directions", "space origin"):
        try:
            _check_nrrd_numbers(key, header.get(key, ""))
        except ValueError as error:
            raise ScanError(path, f"its header states the {key} {header[key]}", TRUE_GEOMETRY) from error
    directions = re.findall(r"none|\([^)]*\)", header.get("space directions", ""))
    spacings = header.get("spacings", "").lower().split()
    placed = [axis for axis in directions or spacings if axis not in ("none", "nan")]
    if len(placed) < 3:
        found = [f"the {key} {header[key]}" for key in ("spacings", "space directions") if key in header]
        finding = f"its header states {found[0] if found else 'no spacings'}, where those of 3 axes were expected"
        raise ScanError(path, finding, "write the true ones into it, in mm")
    if "nan" in header.get("space origin", "").lower():
        raise ScanError(path, f"its header states the space origin {header['space origin']}", TRUE_GEOMETRY)
    units = re.findall(r'"([^"]*)"', header.get("space units", "") or header.get("units", ""))
    if len(units) > 3:  # of channels or time, the unit is another
        units = [unit for unit in units if unit in MILLIMETRES]
    return _millimetres(path, units)


def _check_nrrd_numbers(key: str, value: str) -> None:
    """Check a list of numbers, or of vectors of three numbers (four where time is an axis of the space).

    SimpleITK reads the beginning of a damaged number.

    Raises:
        ValueError: a number is damaged, a vector is too short or too long, or there are other characters between them.
    """
    if not key.startswith("space "):
        list(map(int if key in ("dimension", "sizes") else float, value.split()))
    elif rest := re.sub(r"\([^()]*\)|none", "", value).strip():
        raise ValueError(f"'{rest}' is not a vector")
    lengths = {len(list(map(float, vector.split(",")))) for vector in re.findall(r"\(([^()]*)\)", value)}
    if len(lengths) > 1 or not lengths <= {3, 4}:
        raise ValueError(f"vectors of {sorted(lengths)} numbers")


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
