"""DICOM series through SimpleITK, placed by their own position tags; nothing that names a patient is read or shown."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import SimpleITK

from vdt3d.io.checks import ScanError
from vdt3d.io.sitk import LPS_TO_RAS

SERIES, POSITION, ORIENTATION, SPACING = "0020|000e", "0020|0032", "0020|0037", "0028|0030"
UNEVEN = 0.05  # of the usual step; positions are rounded, a missing slice is a whole step


def list_series(folder: str | Path) -> dict[str, list[Path]]:
    """The DICOM series in a folder: series instance UID (some anonymisers leave it empty) to its files.

    Raises:
        ScanError: a file begins as DICOM but cannot be read.
    """
    return {uid: [_file(header) for header in headers] for uid, headers in _scan(Path(folder)).items()}


def read_series(folder: Path, series: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (1, z, y, x) as float32, rescaled (Hounsfield units), and the affine; slices rise along their normal.

    The step between slices is taken from their positions, so a tilted gantry shows as a sheared affine.

    Args:
        series: the series instance UID; not needed where the folder holds one series.

    Raises:
        ScanError: no series or several, slices that do not fit together, or that SimpleITK cannot decode.
    """
    headers = _chosen(folder, _scan(folder), series)
    across, normal = _common_geometry(folder, headers)
    headers.sort(key=lambda header: normal @ _numbers(header, POSITION))
    positions = np.array([_numbers(header, POSITION) for header in headers])
    affine = np.eye(4)
    affine[:3, 0] = _step(folder, headers, positions)
    affine[:3, 1:3] = across
    affine[:3, 3] = positions[0]
    reader = SimpleITK.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames([header.GetFileName() for header in headers])
    reader.SetOutputPixelType(SimpleITK.sitkFloat32)  # the first slice's type would round later slices' fractions off
    try:
        array = SimpleITK.GetArrayFromImage(reader.Execute())
    except RuntimeError:
        finding = "SimpleITK cannot decode the voxels of this series"
        raise ScanError(folder, finding, "export it again, or decompress it (dcmdjpeg, gdcmconv --raw)") from None
    return array[None], LPS_TO_RAS @ affine


def _scan(folder: Path) -> dict[str, list[SimpleITK.ImageFileReader]]:
    """Series UID to the headers of its slices; files that are not DICOM are passed over."""
    found = defaultdict(list)
    for path in sorted(folder.iterdir()):
        header = _header(path) if path.is_file() and path.name != "DICOMDIR" else None
        if header is not None:
            found[header.GetMetaData(SERIES).strip() if header.HasMetaDataKey(SERIES) else ""].append(header)
    return dict(found)


def _header(path: Path) -> SimpleITK.ImageFileReader | None:
    header = SimpleITK.ImageFileReader()
    header.SetImageIO("GDCMImageIO")
    header.SetFileName(str(path))
    try:
        header.ReadImageInformation()
    except RuntimeError:
        if is_dicom(path):
            finding = "begins as DICOM but holds no readable picture (cut short, or a report)"
            raise ScanError(path, finding, "copy it again, or move it out of the folder") from None
        return None
    return header


def is_dicom(path: Path) -> bool:
    """Whether the file bears DICOM's mark."""
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _chosen(folder: Path, found: dict[str, list], series: str | None) -> list[SimpleITK.ImageFileReader]:
    if not found:
        raise ScanError(folder, "is a folder without DICOM slices", "give a file, or the folder that holds the slices")
    if series is None and len(found) == 1:
        return next(iter(found.values()))
    if series not in found:
        listed = ", ".join(f"'{uid}' ({len(headers)} slices)" for uid, headers in found.items())
        wanted = "" if series is None else f", not '{series}'"
        raise ScanError(folder, f"holds the DICOM series {listed}{wanted}", "choose one with series='UID'")
    return found[series]


def _common_geometry(folder: Path, headers: list[SimpleITK.ImageFileReader]) -> tuple[np.ndarray, np.ndarray]:
    """What all slices must share: the steps (3, 2) along y and x in mm, LPS+, and their normal."""
    first = headers[0]
    for header in headers:
        if header.GetSize()[2:] != (1,) or header.GetNumberOfComponents() != 1:
            raise ScanError(_file(header), "is multi-frame or colour", "convert the series to NIfTI (dcm2niix)")
        same = header.GetSize() == first.GetSize() and all(
            np.allclose(_numbers(header, tag), _numbers(first, tag), atol=1e-4) for tag in (ORIENTATION, SPACING)
        )
        if not same:
            finding = f"{_file(first).name} and {_file(header).name} differ in size, orientation or pixel spacing"
            raise ScanError(folder, finding, "put localisers and other series into folders of their own")
    along_x, along_y = _numbers(first, ORIENTATION).reshape(2, 3)
    between_rows, between_columns = _numbers(first, SPACING)
    return np.stack([along_y * between_rows, along_x * between_columns], axis=1), np.cross(along_x, along_y)


def _step(folder: Path, headers: list[SimpleITK.ImageFileReader], positions: np.ndarray) -> np.ndarray:
    """From one slice to the next (3,), in mm, the same for all."""
    if len(headers) < 2:
        raise ScanError(folder, "is a series of one slice, whose thickness is unknown", "give the whole series")
    steps = np.diff(positions, axis=0)
    usual = np.median(steps, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    uneven = np.linalg.norm(steps - usual, axis=1) > UNEVEN * np.linalg.norm(usual)
    if (wrong := uneven | (lengths < 1e-3)).any():
        at = int(wrong.argmax())
        names = f"{_file(headers[at]).name} and {_file(headers[at + 1]).name}"
        finding = f"slices {names} are {lengths[at]:.2f} mm apart, most are {np.linalg.norm(usual):.2f} mm"
        raise ScanError(folder, finding, "fetch the missing slice, or remove doubled ones and other phases")
    return (positions[-1] - positions[0]) / (len(positions) - 1)


def _numbers(header: SimpleITK.ImageFileReader, tag: str) -> np.ndarray:
    try:
        return np.array([float(number) for number in header.GetMetaData(tag).split("\\")])
    except (RuntimeError, ValueError):
        finding = f"has no position, orientation or pixel spacing (tag {tag})"
        raise ScanError(_file(header), finding, "export the original series, not a capture of it") from None


def _file(header: SimpleITK.ImageFileReader) -> Path:
    return Path(header.GetFileName())
