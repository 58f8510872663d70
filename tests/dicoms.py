"""CT series as DICOM files, their headers full of a patient who never was; arrays are (D, H, W)."""

import copy
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

ROOT = "1.2.826.0.1.3680043.8.498"
# What must be found in no file but a DICOM-SEG, and in no message.
IDENTITY = {
    "PatientName": "QUICKSILVER^ANNABEL",
    "PatientID": "PAT-7719",
    "PatientBirthDate": "19420713",
    "PatientAddress": "12 Hollow Lane",
    "PatientTelephoneNumbers": "555-0199",
    "OtherPatientIDs": "OTHER-5512",
    "AccessionNumber": "ACC-3381",
    "InstitutionName": "Saint Ermintrude",
    "InstitutionAddress": "Cathedral Hill",
    "ReferringPhysicianName": "WORMWOOD^CYRIL",
    "PerformingPhysicianName": "LARKSPUR^IDA",
    "OperatorsName": "FENNEL^TOM",
    "StudyDate": "20190305",
    "SeriesDate": "20190306",
    "AcquisitionDate": "20190307",
    "ContentDate": "20190308",
    "StudyTime": "101112",
    "StudyID": "STUDY-88",
    "StudyDescription": "Referred by Aunt Petunia",
    "SeriesDescription": "Body 3.0",
    "ImageComments": "Daughter visits Sundays",
    "StationName": "WARD-9",
    "DeviceSerialNumber": "SN-40417",
    "RequestingPhysician": "BORAGE^EVE",
}
PRIVATE = "PRIVATE-6606"
TRACES = (
    *("QUICKSILVER", "ANNABEL", "WORMWOOD", "LARKSPUR", "FENNEL", "BORAGE", "Petunia", PRIVATE, ROOT),
    *(text for name, text in IDENTITY.items() if not name.endswith("Name")),
)


def write_ct(
    folder: Path,
    array: np.ndarray,
    *,
    series: str = "1",
    spacing: tuple[float, float, float] = (3.0, 2.0, 1.0),
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0),
    origin: tuple[float, float, float] = (-7.0, -8.0, 30.0),
    number: int = 4,
    **header: object,
) -> list[Path]:
    """Slices, each in a file whose name says nothing of its place; values are stored less 1000.

    Args:
        array: (D, H, W) of whole numbers.
        series: the end of the series instance UID.
        spacing: (z, y, x) in mm.
        orientation: directions of x and y, LPS+.
        origin: of the first slice, LPS+.
        number: of the series.
        header: further elements; None leaves one out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    along_x, along_y = np.reshape(orientation, (2, 3))
    step = np.cross(along_x, along_y) * spacing[0]
    first = Dataset()
    first.file_meta = FileMetaDataset()
    first.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    first.SOPClassUID = first.file_meta.MediaStorageSOPClassUID = CTImageStorage
    for name, text in IDENTITY.items():
        setattr(first, name, text)
    first.private_block(0x0009, "NOBODY 1.0", create=True).add_new(0x01, "LO", PRIVATE)
    first.Modality, first.PatientSex, first.PatientPosition, first.SeriesNumber = "CT", "F", "HFS", number
    first.StudyInstanceUID, first.SeriesInstanceUID = f"{ROOT}.1", f"{ROOT}.2.{series}"
    first.FrameOfReferenceUID = f"{ROOT}.3"
    first.ImageType, first.PositionReferenceIndicator = ["ORIGINAL", "PRIMARY", "AXIAL"], ""
    first.SamplesPerPixel, first.PhotometricInterpretation = 1, "MONOCHROME2"
    first.Rows, first.Columns = array.shape[1:]
    first.BitsAllocated, first.BitsStored, first.HighBit, first.PixelRepresentation = 16, 16, 15, 0
    first.PixelSpacing, first.SliceThickness = [spacing[1], spacing[2]], spacing[0]
    first.ImageOrientationPatient = list(orientation)
    first.RescaleIntercept, first.RescaleSlope, first.RescaleType = -1000, 1, "HU"
    paths = []
    for place, plane in enumerate(array):
        slice_ = copy.deepcopy(first)
        slice_.SOPInstanceUID = slice_.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.4.{series}.{place + 1}"
        slice_.InstanceNumber = place + 1
        slice_.ImagePositionPatient = [round(value, 6) for value in origin + place * step]
        slice_.PixelData = (plane + 1000).astype("<u2").tobytes()
        for name, value in header.items():
            if value is None:
                delattr(slice_, name)
            else:
                setattr(slice_, name, value)
        paths.append(folder / f"{series}_{(place * 7) % 101:03d}.dcm")
        slice_.save_as(paths[-1], enforce_file_format=True)
    return paths


def change(path: Path, **header: object) -> None:
    """Write elements of a file anew."""
    dataset = pydicom.dcmread(path)
    for name, value in header.items():
        setattr(dataset, name, value)
    dataset.save_as(path)
