"""Label maps as DICOM-SEG, by highdicom: segments that refer to the slices they lie on; label arrays are (1, D, H, W).

A DICOM-SEG belongs to the study of its series, so the standard makes it repeat the patient's data. No other file that
we write does.
"""

import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Self

import numpy as np
from pydicom import dcmread
from pydicom.valuerep import DA, TM, format_number_as_ds

from vdt3d import __version__
from vdt3d.io.checks import ScanError
from vdt3d.io.dicom import Slices, place_slices
from vdt3d.io.dicom_headers import quiet_pydicom
from vdt3d.structures import LabelMap
from vdt3d.utils.files import write_aside
from vdt3d.utils.notice import NOTICE

UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID")
MAY_BE_EMPTY = (  # of type 2: they must be there, and are empty where nobody knows (PS3.5, 7.4.3)
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "ReferringPhysicianName"),
    *("StudyID", "StudyDate", "StudyTime", "AccessionNumber"),
)
SERIES_NUMBER = 1000  # ours among the study's; others count from 1
LONGEST = 64  # letters of a name in DICOM
UTF_8 = "ISO_IR 192"
UNDECODED = "\N{REPLACEMENT CHARACTER}"
TEXT_TYPES = ("PN", "LO", "SH", "ST", "LT", "UC", "UT")


class SegSource(NamedTuple):
    """A series that a DICOM-SEG can refer to.

    Fields:
        folder: where it lies.
        slices: its grid.
        headers: one for each slice, without voxels (``pydicom.Dataset``); thickness and spacing are those of the grid
            where the file has none, or wrong ones.
    """

    folder: Path
    slices: Slices
    headers: Sequence[Any]

    @classmethod
    def read(cls, folder: str | Path, series: str | None = None) -> Self:
        """Read the headers of a series.

        Args:
            series: the series instance UID; not needed where the folder holds one series.

        Raises:
            ScanError: no DICOM series, or one that cannot be read; UIDs by which a DICOM-SEG refers to it are missing;
                values that it repeats are invalid.
            ValueError: highdicom is not installed.
        """
        folder = Path(folder)
        _highdicom()

        if not folder.is_dir():
            raise ScanError(folder, "is no folder of a DICOM series", "a DICOM-SEG refers to one: write NIfTI alone")
        slices = place_slices(folder, series)
        with quiet_pydicom():
            headers = [dcmread(path, stop_before_pixels=True, force=True) for path in slices.files]
            missing = [name for name in UIDS if not all(str(header.get(name) or "").strip() for header in headers)]
            several = {str(header.get("SOPInstanceUID")) for header in headers}
            invalid = _invalid_elements(headers[0])
            _state_spacing(headers, slices)
        if missing:
            finding = f"its headers have no {', '.join(missing)}"
            raise ScanError(folder, finding, "a DICOM-SEG refers to its series by them: export the original series")
        if len(several) < len(headers):
            finding = f"its {len(headers)} slices share {len(several)} SOPInstanceUIDs"
            raise ScanError(folder, finding, "a DICOM-SEG tells slices apart by them: export the original series")
        if invalid:
            finding = f"its headers have values of {', '.join(invalid)} that the standard does not allow"
            raise ScanError(folder, finding, "correct these elements, or write NIfTI alone")
        return cls(folder, slices, headers)


def write_dicom_seg(
    labels: LabelMap,
    path: str | Path,
    source: SegSource,
    *,
    segments: Mapping[str, int | Sequence[int]],
    colours: Sequence[str] = (),
) -> None:
    """Write ``labels`` as a binary DICOM-SEG in the study of ``source``; the file appears whole or not at all.

    Its texts are encoded in UTF-8, whatever the character set of the series.

    Args:
        segments: name to label, or to the labels of a region; regions may overlap. They are numbered from 1 in this
            order, and are there even where no voxel is labelled so.
        colours: proposed to viewers, as hexadecimal RGB, the first ones again where they run out.

    Raises:
        ScanError: the labels do not lie on the grid of the series, or its headers cannot be taken over.
        ValueError: there are no segments, or DICOM cannot hold their names.
    """
    path = Path(path)
    check_segment_names(list(segments))
    _check_grid(labels, source)
    try:
        with quiet_pydicom():
            pixels = _segmented(np.asarray(labels.array)[0], list(segments.values()))
            file = _segmentation(source.headers, pixels, list(segments), colours)
            if any(UNDECODED in str(element.value) for element in file.iterall() if element.VR in TEXT_TYPES):
                finding = "its headers contain text that is not in their SpecificCharacterSet"
                raise ScanError(source.folder, finding, "correct that element, or write NIfTI alone")
            write_aside(path, file.save_as)
    except ScanError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # Its message may quote the patient's data, so neither it nor the error goes on from here.
        finding = f"its headers cannot be taken over into a DICOM-SEG ({type(error).__name__})"
        raise ScanError(source.folder, finding, "repair them, or write NIfTI alone") from None


def _check_grid(labels: LabelMap, source: SegSource) -> None:
    slices = source.slices
    grid = LabelMap(np.broadcast_to(np.uint8(0), (1, *slices.shape)), slices.affine)
    if labels.same_grid(grid):
        return
    if labels.shape == slices.shape:
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in slices.shape], [1], indexing="ij")).reshape(4, -1)
        offset = np.linalg.norm(((labels.affine - slices.affine) @ corners)[:3], axis=0).max()
        finding = f"its voxels lie up to {offset:.3g} mm from those of the labels"
    else:
        finding = f"it has {slices.shape} voxels, the labels {labels.shape}"
    raise ScanError(source.folder, finding, "give the labels of this series; a tilted one is resampled: NIfTI alone")


def check_segment_names(names: Sequence[str]) -> None:
    """Refuse names of segments that DICOM cannot hold.

    Raises:
        ValueError: there are no names; one is empty or contains a backslash or a control character; two agree in their
            first ``LONGEST`` letters, which are all that is written.
    """
    if not names:
        raise ValueError("DICOM-SEG needs class names, and neither the checkpoint nor the data set has any")
    written: dict[str, str] = {}
    for name in names:
        if not name.strip() or "\\" in name or any(unicodedata.category(letter) == "Cc" for letter in name):
            finding = f"class name {name!r} is empty or contains a backslash or control character"
            raise ValueError(f"{finding}, which DICOM-SEG cannot hold; rename the class or write NIfTI alone")
        if (other := written.setdefault(name[:LONGEST].strip(), name)) != name:
            finding = f"class names {other!r} and {name!r} have the same first {LONGEST} letters"
            raise ValueError(f"{finding}, and DICOM-SEG holds no more; rename one or write NIfTI alone")


def _state_spacing(headers: Sequence[Any], slices: Slices) -> None:
    """Write the step of the slices' positions into the headers, which often state another or none."""
    step = format_number_as_ds(float(np.linalg.norm(slices.affine[:3, 0])))
    for header in headers:
        header.SpacingBetweenSlices = step
        try:
            stated = float(header.get("SliceThickness") or 0)
        except (TypeError, ValueError):
            stated = 0
        if not (math.isfinite(stated) and stated > 0):
            header.SliceThickness = step


def _segmentation(headers: Sequence[Any], pixels: np.ndarray, names: Sequence[str], colours: Sequence[str]) -> Any:
    """Return the ``highdicom.seg.Segmentation`` of ``pixels``, as ``_segmented`` makes them."""
    highdicom = _highdicom()
    for name in MAY_BE_EMPTY:
        if name not in headers[0]:
            setattr(headers[0], name, "")
    headers[0].decode()  # nested texts would be copied in the bytes of their own character set
    return highdicom.seg.Segmentation(
        source_images=headers,
        pixel_array=pixels,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=list(_descriptions(highdicom, names, colours)),
        series_instance_uid=highdicom.UID(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="VDT3D",
        manufacturer_model_name="vdt3d",
        software_versions=__version__,
        device_serial_number="0",
        content_label="SEGMENTATION",
        content_description=NOTICE,
        series_description=f"VDT3D: {NOTICE}",
        specific_character_set=UTF_8,
    )


def _invalid_elements(header: Any) -> list[str]:
    """Return the keywords of a header's elements that a DICOM-SEG repeats and whose values highdicom refuses."""
    kinds = {"PatientBirthDate": DA, "StudyDate": DA, "StudyTime": TM, "PatientSex": _check_sex}
    invalid = []
    for keyword, kind in kinds.items():
        try:
            kind(header.get(keyword) or "")
        except (TypeError, ValueError):
            invalid.append(keyword)
    return invalid


def _check_sex(value: str) -> None:
    if value not in ("", "M", "F", "O"):
        raise ValueError(value)


def _segmented(labels_DHW: np.ndarray, members: Sequence[int | Sequence[int]]) -> np.ndarray:
    """Return each voxel's segment number (D, H, W) or, where segments overlap, (D, H, W, segments) of 0 and 1."""
    regions = [np.atleast_1d(region) for region in members]
    labels = np.concatenate(regions)
    if len(set(labels.tolist())) < len(labels):
        return np.stack([np.isin(labels_DHW, region) for region in regions], axis=-1).astype(np.uint8)
    table = np.zeros(max(int(labels_DHW.max()), int(labels.max())) + 1, np.min_scalar_type(len(regions)))
    for number, region in enumerate(regions, start=1):
        table[region] = number
    return table[labels_DHW]


def _descriptions(highdicom: ModuleType, names: Sequence[str], colours: Sequence[str]) -> Iterator[Any]:
    """Yield the description of each segment: its name, a colour, and the program that made it.

    The meaning of a name in the standard's terms is unknown, so the type is a code of our own (a scheme that begins
    with 99 is private).
    """
    from pydicom.sr.codedict import codes

    family = codes.DCM.ArtificialIntelligence
    program = highdicom.AlgorithmIdentificationSequence(name="VDT3D", family=family, version=__version__)
    for number, name in enumerate(names, start=1):
        colour = None
        if colours:
            red_green_blue = bytes.fromhex(colours[(number - 1) % len(colours)].removeprefix("#"))
            colour = highdicom.color.CIELabColor.from_rgb(*red_green_blue)
        yield highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name[:LONGEST],
            segmented_property_category=codes.SCT.SpatialAndRelationalConcept,
            segmented_property_type=highdicom.sr.CodedConcept(f"SEGMENT-{number}", "99VDT3D", name[:LONGEST]),
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=program,
            display_color=colour,
        )


def _highdicom() -> ModuleType:
    try:
        import highdicom
    except ImportError as error:
        raise ValueError("DICOM-SEG needs a package that is not installed: pip install 'vdt3d[dicomseg]'") from error
    return highdicom
