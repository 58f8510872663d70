"""Headers of the DICOM files in a folder, read with pydicom; nothing that names a patient is kept."""

import logging
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydicom import Dataset, config, dcmread

from vdt3d.io.checks import AGAIN, ScanError, check_exists

# Elements that distinguish acquisitions where one series contains several at the same positions.
PHASE = ("AcquisitionNumber", "TemporalPositionIdentifier", "TriggerTime", "EchoTime", "DiffusionBValue", "ImageType")
TEXTS = (
    *("SOPClassUID", "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "FrameOfReferenceUID"),
    *("PhotometricInterpretation", "RescaleType", "Units", *PHASE),
)
COUNTS = {"Rows": 1, "Columns": 1, "NumberOfFrames": 1, "SamplesPerPixel": 1, "RescaleSlope": 1, "RescaleIntercept": 1}
GEOMETRY = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
SEQUENCES = ("ModalityLUTSequence", "SharedFunctionalGroupsSequence")
WANTED = [*TEXTS, *COUNTS, *GEOMETRY, *SEQUENCES]
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
# Prefixes of SOP classes that hold no slices of a scan: presentation states, reports, waveforms, documents, raw data,
# registrations, segmentations, parametric maps, objects of radiotherapy, spectroscopy, protocols; and a DICOMDIR.
BESIDE = ("11.", "88.", "9.", "104.", "66", "67", "30", "481.", "4.2", "200.")
NO_SLICES = (*(f"1.2.840.10008.5.1.4.1.1.{kind}" for kind in BESIDE), "1.2.840.10008.1.3.10")


class Header(NamedTuple):
    """Header of one DICOM slice.

    Fields:
        path: the file.
        texts: elements of ``TEXTS`` by keyword; "" where missing or unreadable.
        numbers: elements of ``COUNTS`` and ``GEOMETRY`` by keyword; empty where missing or not finite numbers.
        sequences: the keywords of ``SEQUENCES`` that have items.
    """

    path: Path
    texts: Mapping[str, str]
    numbers: Mapping[str, np.ndarray]
    sequences: frozenset[str]

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.numbers["Rows"][0]), int(self.numbers["Columns"][0])

    def geometry(self, keyword: str) -> np.ndarray:
        """Return an element of ``GEOMETRY``.

        Raises:
            ScanError: it is missing or places nothing.
        """
        numbers, count = self.numbers[keyword], GEOMETRY[keyword]
        if len(numbers) != count or (keyword == "PixelSpacing" and not (numbers > 0).all()):
            wanted = f"{count} positive numbers" if keyword == "PixelSpacing" else f"{count} numbers"
            raise ScanError(self.path, f"has no {keyword} of {wanted}", "export the original series, not a capture")
        return numbers


class FolderHeaders(NamedTuple):
    """Headers of a folder's DICOM files.

    Fields:
        series: the headers of the slices by series instance UID, in the order of their file names.
        beside: number of files without slices by modality, such as {"SEG": 1}.
    """

    series: dict[str, list[Header]]
    beside: Counter[str]


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom from checking and reporting values, since its warnings quote them."""
    logger = logging.getLogger("pydicom")
    disabled, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = disabled


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM: by its mark or, of a file without preamble, by a first element of group 8."""
    with path.open("rb") as stream:
        head = stream.read(132)
    return head[128:] == b"DICM" or (head[:2] in (b"\x02\0", b"\x08\0") and head[3:4] == b"\0")


def may_hold_slices(path: Path) -> bool:
    """Return whether a file is DICOM of a kind that can belong to a scan; a damaged one may."""
    if path.name == "DICOMDIR" or not is_dicom(path):
        return False
    try:
        with quiet_pydicom():
            return not _sop_class(_read(path, ["SOPClassUID"])).startswith(NO_SLICES)
    except ScanError:
        return True


def single_file_finding(path: Path) -> tuple[str, str]:
    """Return the finding and the remedy for a DICOM file given where a scan is expected."""
    with quiet_pydicom():
        header = _read(path, ["SOPClassUID", "Modality"])
        sop_class = _sop_class(header)
        kind = _text(header, "Modality") or sop_class
    if not sop_class.startswith(NO_SLICES):
        return "is one slice of a DICOM series", "give the folder that holds the series"
    return f"is a DICOM file without slices ({kind})", "give the folder of a DICOM series, or convert it to NIfTI"


def read_headers(folder: Path) -> FolderHeaders:
    """Read the headers of all DICOM files in a folder; hidden files and those of other formats are ignored.

    Raises:
        ScanError: a DICOM file is damaged, or a file named as DICOM is something else.
    """
    series, beside = defaultdict(list), Counter()
    with quiet_pydicom():
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path.name == "DICOMDIR" or path.is_dir():
                continue
            check_exists(path)
            if not is_dicom(path):
                _check_name(path)
                continue
            dataset = _read(path, WANTED)
            if (sop_class := _sop_class(dataset)).startswith(NO_SLICES):
                beside[_text(dataset, "Modality") or sop_class] += 1
                continue
            header = _header(path, dataset)
            series[header.texts["SeriesInstanceUID"]].append(header)
    return FolderHeaders(dict(series), beside)


def _check_name(path: Path) -> None:
    if path.suffix.lower() in DICOM_SUFFIXES:
        finding = f"is no DICOM file, despite its suffix ({path.stat().st_size} bytes)"
        raise ScanError(path, finding, f"{AGAIN}, or move it out of the folder")


def _read(path: Path, keywords: list[str]) -> Dataset:
    try:
        return dcmread(path, stop_before_pixels=True, force=True, specific_tags=keywords)
    except OSError:
        raise
    except Exception as error:  # pydicom raises errors of many types for damaged bytes, and quotes these
        finding = f"its DICOM header cannot be read ({type(error).__name__})"
        raise ScanError(path, finding, f"{AGAIN}, or move it out of the folder") from None


def _header(path: Path, dataset: Dataset) -> Header:
    numbers = {keyword: _numbers(dataset, keyword) for keyword in (*COUNTS, *GEOMETRY)}
    if not all(len(numbers[name]) == 1 and numbers[name][0] >= 1 for name in ("Rows", "Columns")):
        finding = "is a DICOM file without a readable image (cut short?)"
        raise ScanError(path, finding, f"{AGAIN}, or move it out of the folder")
    texts = {keyword: _text(dataset, keyword) for keyword in TEXTS}
    return Header(path, texts, numbers, frozenset(keyword for keyword in SEQUENCES if _value(dataset, keyword)))


def _sop_class(dataset: Dataset) -> str:
    meta = getattr(dataset, "file_meta", Dataset())
    return _text(dataset, "SOPClassUID") or _text(meta, "MediaStorageSOPClassUID")


def _value(dataset: Dataset, keyword: str) -> Any:
    """Return an element's value, None where it is missing or its bytes are no value of its type."""
    try:
        return dataset.get(keyword)
    except Exception:  # pydicom converts values here, and raises errors of many types
        return None


def _text(dataset: Dataset, keyword: str) -> str:
    """Return an element as printable text, "" where there is none."""
    value = _value(dataset, keyword)
    text = "" if value is None else "\\".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return "".join(letter for letter in text if letter.isprintable()).strip()


def _numbers(dataset: Dataset, keyword: str) -> np.ndarray:
    try:
        numbers = np.atleast_1d(np.array(_value(dataset, keyword), dtype=float))
    except (TypeError, ValueError):
        return np.empty(0)
    return numbers if np.isfinite(numbers).all() else np.empty(0)
