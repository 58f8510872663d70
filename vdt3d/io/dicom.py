"""DICOM series, placed by their own position tags; nothing that names a patient is read or shown."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vdt3d.io.checks import ScanError
from vdt3d.io.dicom_headers import PHASE, FolderHeaders, Header, read_headers
from vdt3d.io.dicom_values import GREY, check_alike, read_values
from vdt3d.io.sitk import LPS_TO_RAS

UNEVEN = 0.05  # of the usual step; positions are rounded, a missing slice is a whole step
SAME_PLACE = 1e-3  # mm
NOT_UNIT = 1e-3  # tolerance of the lengths of the orientation's vectors and of the cosine between them


class SeriesFacts(NamedTuple):
    """Facts that distinguish the series of a folder; nothing of the patient.

    Fields:
        files: its slices, sorted by name.
        modality, number, description: as in the first slice; "" where missing.
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
    """Files and grid of a series.

    Fields:
        files: in the order of the slices, which rise along their normal.
        shape: (D, H, W).
        affine: (4, 4), as ``Volume``'s.
    """

    files: list[Path]
    shape: tuple[int, int, int]
    affine: np.ndarray


def list_series(folder: str | Path) -> dict[str, SeriesFacts]:
    """List the DICOM series in a folder by series instance UID, which some anonymisers leave empty.

    Raises:
        ScanError: a DICOM file cannot be read.
    """
    return {uid: _facts(headers) for uid, headers in read_headers(Path(folder)).series.items()}


def place_slices(folder: str | Path, series: str | None = None) -> Slices:
    """Sort the files of a series and compute their grid; no voxel is read.

    The step between slices is taken from their positions, so a tilted gantry shows as a sheared affine.

    Args:
        series: the series instance UID; not needed where the folder holds one series.

    Raises:
        ScanError: no series or several, or slices that do not fit together.
    """
    folder = Path(folder)
    headers = _chosen(folder, read_headers(folder), series)
    across, normal = _common_geometry(folder, headers)
    headers = sorted(headers, key=lambda header: normal @ header.geometry("ImagePositionPatient"))
    positions = np.array([header.geometry("ImagePositionPatient") for header in headers])
    affine = np.eye(4)
    affine[:3, 0] = _step(folder, headers, positions)
    check_alike(headers)
    affine[:3, 1:3] = across
    affine[:3, 3] = positions[0]
    return Slices([header.path for header in headers], (len(headers), *headers[0].size), LPS_TO_RAS @ affine)


def read_series(folder: Path, series: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read voxels (1, z, y, x) as float32 and the affine, on the grid of ``place_slices``.

    Values are rescaled slice by slice (Hounsfield units of CT); see ``dicom_values``.

    Raises:
        ScanError: as ``place_slices``, or a slice is cut short or cannot be decoded.
    """
    slices = place_slices(folder, series)
    array = np.empty((1, *slices.shape), np.float32)
    for place, path in enumerate(slices.files):
        array[0, place] = read_values(path)
    return array, slices.affine


def _chosen(folder: Path, found: FolderHeaders, series: str | None) -> list[Header]:
    if not found.series:
        others = ", ".join(f"{count} {kind}" for kind, count in sorted(found.beside.items()))
        beside = f" (only files without slices: {others})" if others else ""
        finding = f"is a folder without DICOM slices{beside}"
        raise ScanError(folder, finding, "give a file, or the folder that holds the slices")
    if series is None and len(found.series) == 1:
        return next(iter(found.series.values()))
    if series not in found.series:
        listed = ", ".join(f"'{uid}' ({_facts(headers)})" for uid, headers in found.series.items())
        wanted = "" if series is None else f", not '{series}'"
        raise ScanError(
            folder, f"holds the DICOM series {listed}{wanted}", "choose one with series='UID' (--series UID)"
        )
    return found.series[series]


def _common_geometry(folder: Path, headers: Sequence[Header]) -> tuple[np.ndarray, np.ndarray]:
    """Return the geometry that all slices share: the steps (3, 2) along y and x in mm, LPS+, and their normal."""
    first = headers[0]
    for header in headers:
        _check_plane(header)
        differ = [] if header.size == first.size else ["Rows and Columns"]
        differ += [
            name
            for name in ("ImageOrientationPatient", "PixelSpacing")
            if not np.allclose(header.geometry(name), first.geometry(name), atol=1e-4)
        ]
        if differ:
            finding = f"{first.path.name} and {header.path.name} differ in {', '.join(differ)}"
            raise ScanError(folder, finding, "put localisers and other series into folders of their own")
    along_x, along_y = first.geometry("ImageOrientationPatient").reshape(2, 3)
    between_rows, between_columns = first.geometry("PixelSpacing")
    return np.stack([along_y * between_rows, along_x * between_columns], axis=1), np.cross(along_x, along_y)


def _check_plane(header: Header) -> None:
    """Refuse files that are not one grey plane in the world.

    Raises:
        ScanError: the file holds frames or colours, or its orientation is not two perpendicular unit vectors.
    """
    frames, colours = (header.numbers[name].tolist() or [1] for name in ("NumberOfFrames", "SamplesPerPixel"))
    kind = header.texts["PhotometricInterpretation"]
    if frames != [1] or "SharedFunctionalGroupsSequence" in header.sequences:
        raise ScanError(header.path, "is multi-frame or enhanced", "convert the series to NIfTI (dcm2niix)")
    if colours != [1] or kind not in GREY:
        finding = f"its PhotometricInterpretation is '{kind}', a grey image has {' or '.join(GREY)}"
        raise ScanError(header.path, finding, "export the original grey series")
    vectors = header.geometry("ImageOrientationPatient").reshape(2, 3)
    if np.abs(vectors @ vectors.T - np.eye(2)).max() > NOT_UNIT:
        finding = f"its ImageOrientationPatient {vectors.ravel().tolist()} is not two perpendicular unit vectors"
        raise ScanError(header.path, finding, "export the original series")


def _step(folder: Path, headers: Sequence[Header], positions: np.ndarray) -> np.ndarray:
    """Return the step (3,) from one slice to the next in mm, the same for all."""
    if len(headers) < 2:
        raise ScanError(folder, "is a series of one slice, whose thickness is unknown", "give the whole series")
    steps = np.diff(positions, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    if (doubled := lengths < SAME_PLACE).any():
        raise ScanError(folder, *_doubled(headers, doubled))
    usual = np.median(steps, axis=0)
    uneven = np.linalg.norm(steps - usual, axis=1) > UNEVEN * np.linalg.norm(usual)
    if uneven.any():
        at = int(uneven.argmax())
        names = f"{headers[at].path.name} and {headers[at + 1].path.name}"
        there, median = f"{lengths[at]:.2f} mm", f"{np.linalg.norm(usual):.2f} mm"
        if abs(lengths[at] - np.linalg.norm(usual)) < UNEVEN * np.linalg.norm(usual):  # another direction alone
            there, median = (f"{step.round(2).tolist()} mm (x, y, z)" for step in (steps[at], usual))
        finding = f"slices {names} are {there} apart, most are {median}"
        raise ScanError(folder, finding, "fetch the missing slice, or remove those of another acquisition")
    return (positions[-1] - positions[0]) / (len(positions) - 1)


def _doubled(headers: Sequence[Header], doubled: np.ndarray) -> tuple[str, str]:
    """Describe slices at one position, and the remedy.

    Args:
        doubled: (D - 1,) whether a slice lies where the one before it does.
    """
    at = int(doubled.argmax())
    one, other = headers[at], headers[at + 1]
    names = f"{one.path.name} and {other.path.name}"
    counts = np.diff(np.flatnonzero(np.concatenate([[True], ~doubled, [True]])))  # of slices at each position
    if counts.min() == counts.max():
        differ = [name for name in PHASE if one.texts[name] != other.texts[name]]
        by = f", which differ in {', '.join(differ)}" if differ else ""
        finding = f"has {counts[0]} slices at each of {len(counts)} positions, such as {names}{by}"
        return finding, "put each phase, echo or time point into a folder of its own"
    finding = f"slices {names} lie at the same position ({int(doubled.sum())} of {len(headers)} slices are doubled)"
    return finding, "remove doubled slices, or put each phase into a folder of its own"


def _facts(headers: Sequence[Header]) -> SeriesFacts:
    texts = headers[0].texts
    files = [header.path for header in headers]
    return SeriesFacts(files, texts["Modality"], texts["SeriesNumber"], texts["SeriesDescription"])
