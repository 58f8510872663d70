"""Label maps as DICOM-SEG, by highdicom: segments that refer to the slices they lie on; label arrays are (1, D, H, W).

A DICOM-SEG belongs to the study of its series, so the standard has it carry the patient's data along: of all that we
write, it alone does.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Self

import numpy as np

from vdt3d import __version__
from vdt3d.io.checks import ScanError
from vdt3d.io.dicom import Slices, place_slices
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


class SegSource(NamedTuple):
    """A series that a DICOM-SEG can refer to.

    Fields:
        folder: where it lies.
        slices: its grid.
        headers: one for each slice, without voxels (``pydicom.Dataset``).
    """

    folder: Path
    slices: Slices
    headers: Sequence[Any]

    @classmethod
    def read(cls, folder: str | Path, series: str | None = None) -> Self:
        """The headers of a series.

        Args:
            series: the series instance UID; not needed where the folder holds one series.

        Raises:
            ScanError: no DICOM series, or one that cannot be read; UIDs by which a DICOM-SEG refers to it are missing.
            ValueError: highdicom is not there.
        """
        folder = Path(folder)
        _highdicom()
        from pydicom import config, dcmread

        if not folder.is_dir():
            raise ScanError(folder, "is no folder of a DICOM series", "a DICOM-SEG refers to one: write NIfTI alone")
        slices = place_slices(folder, series)
        with config.disable_value_validation():  # whose warnings would quote what they find
            headers = [dcmread(path, stop_before_pixels=True, force=True) for path in slices.files]
            missing = [name for name in UIDS if not all(str(header.get(name) or "").strip() for header in headers)]
            several = {str(header.get("SOPInstanceUID")) for header in headers}
        if missing:
            finding = f"its headers have no {', '.join(missing)}"
            raise ScanError(folder, finding, "a DICOM-SEG refers to its series by them: export the original series")
        if len(several) < len(headers):
            finding = f"its {len(headers)} slices share {len(several)} SOPInstanceUIDs"
            raise ScanError(folder, finding, "a DICOM-SEG tells slices apart by them: export the original series")
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

    Args:
        segments: name to label, or to the labels of a region; regions may overlap. They are numbered from 1 in this
            order, and are there even where no voxel is labelled so.
        colours: proposed to viewers, as hexadecimal RGB, the first ones again where they run out.

    Raises:
        ScanError: the labels do not lie on the grid of the series, or its headers cannot be taken over.
        ValueError: there are no segments.
    """
    path, slices = Path(path), source.slices
    if not segments:
        raise ValueError(f"{path}: a DICOM-SEG wants the names of its segments, and there are none")
    grid = LabelMap(np.broadcast_to(np.uint8(0), (1, *slices.shape)), slices.affine)
    if not labels.same_grid(grid):
        finding = f"its {slices.shape} voxels are not those of the labels, {labels.shape}, in their places"
        raise ScanError(source.folder, finding, "a tilted series is resampled: write NIfTI alone")
    highdicom = _highdicom()
    from pydicom import config

    for name in MAY_BE_EMPTY:
        if name not in source.headers[0]:
            setattr(source.headers[0], name, "")
    try:
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")  # they quote the patient's name
            file = highdicom.seg.Segmentation(
                source_images=source.headers,
                pixel_array=_segmented(np.asarray(labels.array)[0], list(segments.values())),
                segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=list(_descriptions(highdicom, list(segments), colours)),
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
            )
            write_aside(path, file.save_as)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        finding = f"its headers cannot be taken over into a DICOM-SEG ({type(error).__name__})"
        # Its message may quote the patient's data, so neither it nor the error goes on from here.
        raise ScanError(source.folder, finding, "repair them, or write NIfTI alone") from None


def _segmented(labels_DHW: np.ndarray, members: Sequence[int | Sequence[int]]) -> np.ndarray:
    """The number of its segment in each voxel (D, H, W); where segments overlap, (D, H, W, segments) of 0 and 1."""
    regions = [np.atleast_1d(region) for region in members]
    labels = np.concatenate(regions)
    if len(set(labels.tolist())) < len(labels):
        return np.stack([np.isin(labels_DHW, region) for region in regions], axis=-1).astype(np.uint8)
    table = np.zeros(max(int(labels_DHW.max()), int(labels.max())) + 1, np.min_scalar_type(len(regions)))
    for number, region in enumerate(regions, start=1):
        table[region] = number
    return table[labels_DHW]


def _descriptions(highdicom: ModuleType, names: Sequence[str], colours: Sequence[str]) -> Iterator[Any]:
    """What is said of each segment: its name, a colour, and that a program made it.

    A name alone does not tell which of the standard's terms it means, so the type is a code of our own (a scheme that
    begins with 99 is private).
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
        raise ValueError("DICOM-SEG is of a package that is not there: pip install 'vdt3d[dicomseg]'") from error
    return highdicom
