"""DICOM series through SimpleITK, placed by their own position tags; nothing that names a patient is read or shown."""

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK

from vdt3d.io.checks import ScanError, check_exists, is_dangling
from vdt3d.io.sitk import LPS_TO_RAS

SERIES, POSITION, ORIENTATION, SPACING = "0020|000e", "0020|0032", "0020|0037", "0028|0030"
GEOMETRY = {POSITION: ("position", 3), ORIENTATION: ("orientation", 6), SPACING: ("positive pixel spacing", 2)}
MODALITY, NUMBER, DESCRIPTION = "0008|0060", "0020|0011", "0008|103e"
UNEVEN = 0.05  # of the usual step; positions are rounded, a missing slice is a whole step
SOP_CLASS, TRANSFER_SYNTAX = 0x0002, 0x0010  # elements of a file's meta information
LONG = (b"OB", b"UN", b"UR")  # types of these elements whose length takes four bytes
# What SOP classes begin with that hold no slices and lie beside those that do: presentation states, reports, waveforms,
# raw data and registrations, documents, radiotherapy's structures and plans, spectroscopy; and a medium's directory.
BESIDE = ("11.", "88.", "9.", "66", "104.", "481.", "4.2")
NO_SLICES = (*(f"1.2.840.10008.5.1.4.1.1.{kind}" for kind in BESIDE), "1.2.840.10008.1.3.10")


class SeriesFacts(NamedTuple):
    """What tells the series of a folder apart; nothing of the patient.

    Fields:
        files: its slices, sorted by name.
        modality, number, description: as the first slice has them; empty where it does not.
    """

    files: list[Path]
    modality: str
    number: str
    description: str

    def __str__(self) -> str:
        count = f"{len(self.files)} {'slice' if len(self.files) == 1 else 'slices'}"
        number = f"number {self.number}" if self.number else ""
        return ", ".join(filter(None, (number, self.modality, count, self.description)))


class Slices(NamedTuple):
    """Where the slices of a series lie.

    Fields:
        files: in the order of the slices, which rise along their normal.
        shape: (D, H, W).
        affine: (4, 4), as ``Volume``'s.
    """

    files: list[Path]
    shape: tuple[int, int, int]
    affine: np.ndarray


def list_series(folder: str | Path) -> dict[str, SeriesFacts]:
    """The DICOM series in a folder, by their series instance UID, which some anonymisers leave empty.

    Raises:
        ScanError: a file begins as DICOM but cannot be read.
    """
    return {uid: _facts(headers) for uid, headers in _scan(Path(folder)).items()}


def place_slices(folder: str | Path, series: str | None = None) -> Slices:
    """The files of a series in order, and the grid they make up; no voxel is read.

    The step between slices is taken from their positions, so a tilted gantry shows as a sheared affine.

    Args:
        series: the series instance UID; not needed where the folder holds one series.

    Raises:
        ScanError: no series or several, or slices that do not fit together.
    """
    folder = Path(folder)
    headers = _chosen(folder, _scan(folder), series)
    across, normal = _common_geometry(folder, headers)
    headers.sort(key=lambda header: normal @ _numbers(header, POSITION))
    positions = np.array([_numbers(header, POSITION) for header in headers])
    affine = np.eye(4)
    affine[:3, 0] = _step(folder, headers, positions)
    affine[:3, 1:3] = across
    affine[:3, 3] = positions[0]
    columns, rows = headers[0].GetSize()[:2]
    return Slices([_file(header) for header in headers], (len(headers), rows, columns), LPS_TO_RAS @ affine)


def read_series(folder: Path, series: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (1, z, y, x) as float32, rescaled (Hounsfield units), and the affine, on the grid of ``place_slices``.

    Raises:
        ScanError: as ``place_slices``, or SimpleITK cannot decode the voxels.
    """
    slices = place_slices(folder, series)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames([str(path) for path in slices.files])
    reader.SetOutputPixelType(SimpleITK.sitkFloat32)  # the first slice's type would round later slices' fractions off
    try:
        array = SimpleITK.GetArrayFromImage(reader.Execute())
    except RuntimeError:
        syntaxes = sorted({_meta(path, TRANSFER_SYNTAX) or "unknown" for path in slices.files})
        finding = f"SimpleITK cannot decode the voxels of this series (transfer syntax {', '.join(syntaxes)})"
        raise ScanError(folder, finding, "export it again, or decompress it (dcmdjpeg, gdcmconv --raw)") from None
    return array[None], slices.affine


def _scan(folder: Path) -> dict[str, list[SimpleITK.ImageFileReader]]:
    """Series UID to the headers of its slices; files that are not DICOM, or hold no slices, are passed over."""
    found = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if is_dangling(path):
            check_exists(path)
        header = _header(path) if path.is_file() and path.name != "DICOMDIR" else None
        if header is not None:
            found[_texts(header, SERIES)[0]].append(header)
    return dict(found)


def _header(path: Path) -> SimpleITK.ImageFileReader | None:
    header = SimpleITK.ImageFileReader()
    header.SetImageIO("GDCMImageIO")
    header.SetFileName(str(path))
    try:
        header.ReadImageInformation()
    except RuntimeError:
        if is_dicom(path) and not _meta(path, SOP_CLASS).startswith(NO_SLICES):
            finding = "begins as DICOM but holds no readable picture (cut short?)"
            raise ScanError(path, finding, "copy it again, or move it out of the folder") from None
        return None
    return header


def is_dicom(path: Path) -> bool:
    """Whether the file bears DICOM's mark."""
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _meta(path: Path, element: int) -> str:
    """A UID of the file's meta information, which is never compressed: group 2, explicit, little endian (PS3.10, 7.1).

    Empty where there is none.
    """
    with path.open("rb") as stream:
        stream.seek(132)
        while (head := stream.read(8))[:2] == b"\x02\x00":
            length = stream.read(4) if head[4:6] in LONG else head[6:8]
            value = stream.read(int.from_bytes(length, "little"))
            if int.from_bytes(head[2:4], "little") == element:
                return value.rstrip(b"\0 ").decode("ascii", "replace")
    return ""


def _chosen(folder: Path, found: dict[str, list], series: str | None) -> list[SimpleITK.ImageFileReader]:
    if not found:
        raise ScanError(folder, "is a folder without DICOM slices", "give a file, or the folder that holds the slices")
    if series is None and len(found) == 1:
        return next(iter(found.values()))
    if series not in found:
        listed = ", ".join(f"'{uid}' ({_facts(headers)})" for uid, headers in found.items())
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
        numbers = np.array([float(number) for number in header.GetMetaData(tag).split("\\")])
    except (RuntimeError, ValueError):
        numbers = np.empty(0)
    name, count = GEOMETRY[tag]
    if len(numbers) != count or (tag == SPACING and not (numbers > 0).all()):
        finding = f"has no {name} of {count} numbers (tag {tag})"
        raise ScanError(_file(header), finding, "export the original series, not a capture of it")
    return numbers


def _facts(headers: list[SimpleITK.ImageFileReader]) -> SeriesFacts:
    return SeriesFacts([_file(header) for header in headers], *_texts(headers[0], MODALITY, NUMBER, DESCRIPTION))


def _texts(header: SimpleITK.ImageFileReader, *tags: str) -> list[str]:
    """What the header has under ``tags``, empty where it has not; of odd letters, those that can be shown."""
    texts = (header.GetMetaData(tag) if header.HasMetaDataKey(tag) else "" for tag in tags)
    return ["".join(letter for letter in text if letter.isprintable()).strip() for text in texts]


def _file(header: SimpleITK.ImageFileReader) -> Path:
    return Path(header.GetFileName())
