"""Voxel values of DICOM slices: decoded, then transformed by the rescale or the modality LUT of each slice.

Values are those of the output of the modality LUT (PS3.3, C.11.1). Everything after it concerns display and is not
applied: VOI LUT, window, presentation LUT, and MONOCHROME1, which is shown inverted but stored as it is. Pixel padding
is not masked.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK
from pydicom import FileDataset, dcmread, uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut

from vdt3d.io.checks import AGAIN, ScanError
from vdt3d.io.dicom_headers import Header, quiet_pydicom

GREY = ("MONOCHROME1", "MONOCHROME2")
RESCALE = ("RescaleSlope", "RescaleIntercept")
UNCOMPRESSED = (
    *(uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian),
    *(uid.DeflatedExplicitVRLittleEndian, uid.ExplicitVRBigEndian),
)
BY_PYDICOM = (*UNCOMPRESSED, uid.RLELossless)  # without further packages; GDCM in SimpleITK decodes the others
PIXEL = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData")


def check_alike(headers: Sequence[Header]) -> None:
    """Refuse slices whose values or positions do not mean the same: rescaled and others, or in different units.

    Raises:
        ScanError: slices differ, or the rescale of one is incomplete; the message names the file.
    """
    kinds = {
        "transform of stored values": [_transform(header) for header in headers],
        "unit": [header.texts["RescaleType"] or header.texts["Units"] for header in headers],
    }
    for keyword in ("PhotometricInterpretation", "FrameOfReferenceUID"):
        kinds[keyword] = [header.texts[keyword] for header in headers]
    for name, found in kinds.items():
        if len(counts := Counter(filter(None, found))) > 1:
            usual, count = counts.most_common(1)[0]
            odd = next(at for at, kind in enumerate(found) if kind not in (usual, ""))
            values = "" if name.endswith("UID") else f" ('{found[odd]}' and '{usual}')"
            finding = f"its {name} is not that of {count} of the {len(headers)} slices{values}"
            raise ScanError(headers[odd].path, finding, "export the series again, or move the odd slices out")


def read_values(path: Path) -> np.ndarray:
    """Read one slice (rows, columns) as float32, transformed by its rescale or modality LUT.

    Raises:
        ScanError: it is cut short or cannot be decoded.
    """
    with quiet_pydicom():
        dataset = _read(path)
        stored = _decode(path, dataset)
        try:
            return apply_modality_lut(stored, dataset).astype(np.float32)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            kind = "ModalityLUTSequence" if "ModalityLUTSequence" in dataset else "rescale"
            finding = f"its {kind} cannot be applied ({type(error).__name__})"
            raise ScanError(path, finding, "export the series again") from None


def _transform(header: Header) -> str:
    """Name how stored values become values."""
    given = [name for name in RESCALE if len(header.numbers[name])]
    if "ModalityLUTSequence" in header.sequences:
        if given:
            raise ScanError(header.path, f"has a ModalityLUTSequence and {given[0]}", "export the series again")
        return "modality LUT"
    if len(given) == 1 or (given and header.numbers["RescaleSlope"][0] == 0):
        found = " and ".join(f"{name} {_shown(header.numbers[name])}" for name in RESCALE)
        raise ScanError(header.path, f"has {found}, both are needed and the slope not 0", "export the series again")
    return "rescale" if given else "none"


def _shown(numbers: np.ndarray) -> str:
    return f"{numbers[0]:g}" if len(numbers) else "missing"


def _read(path: Path) -> FileDataset:
    try:
        dataset = dcmread(path, force=True)
    except OSError:
        raise
    except Exception as error:  # pydicom raises errors of many types for damaged bytes, and quotes these
        raise ScanError(path, f"is damaged or cut short ({type(error).__name__})", AGAIN) from None
    if missing := [keyword for keyword in PIXEL if keyword not in dataset]:
        raise ScanError(path, f"has no {', '.join(missing)} (cut short?)", AGAIN)
    for keyword in (*RESCALE, "ModalityLUTSequence"):  # an empty element counts as a missing one
        if keyword in dataset and not dataset[keyword].value and dataset[keyword].value != 0:
            del dataset[keyword]
    if "TransferSyntaxUID" not in dataset.file_meta:  # a file without preamble
        implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
    return dataset


def _decode(path: Path, dataset: FileDataset) -> np.ndarray:
    """Return the stored values (rows, columns)."""
    high, wanted = dataset.HighBit, dataset.BitsStored - 1
    if high != wanted:
        raise ScanError(path, f"HighBit is {high}, expected is BitsStored - 1 = {wanted}", "export it again")
    syntax = uid.UID(dataset.file_meta.TransferSyntaxUID)
    expected = (dataset.Rows, dataset.Columns)
    wanted = dataset.Rows * dataset.Columns * dataset.BitsAllocated // 8
    if syntax in UNCOMPRESSED and len(dataset.PixelData) < wanted:
        finding = f"is cut short: {len(dataset.PixelData)} bytes of voxels, {wanted} expected"
        raise ScanError(path, finding, AGAIN)
    try:
        array = dataset.pixel_array if syntax in BY_PYDICOM else _decompress(dataset)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # the decoders raise errors of many types, and quote elements
        finding = f"its voxels cannot be decoded ({type(error).__name__}, transfer syntax {syntax}, {syntax.name})"
        raise ScanError(path, finding, "export it again, or decompress it (dcmdjpeg, gdcmconv --raw)") from None
    if array.shape != expected:
        raise ScanError(path, f"decodes to {array.shape} voxels, its header states {expected}", "export it again")
    return array


def _decompress(dataset: FileDataset) -> np.ndarray:
    """Decode with SimpleITK from a file that holds nothing but the image.

    Of the whole file, SimpleITK would invert MONOCHROME1 and refuse odd geometry that has nothing to do with voxels.
    """
    bare = Dataset()
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    bare.SOPClassUID = bare.file_meta.MediaStorageSOPClassUID = uid.SecondaryCaptureImageStorage
    bare.SOPInstanceUID = bare.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    bare.SamplesPerPixel, bare.PhotometricInterpretation = 1, "MONOCHROME2"
    for keyword in PIXEL:
        bare[keyword] = dataset[keyword]
    with TemporaryDirectory() as folder:
        path = Path(folder, "slice.dcm")
        bare.save_as(path, enforce_file_format=True)
        image = SimpleITK.ReadImage(str(path), imageIO="GDCMImageIO")
        return SimpleITK.GetArrayFromImage(image)[0]
