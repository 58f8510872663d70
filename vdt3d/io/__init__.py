"""Files and volumes: every reader checks what it reads and refuses with file, finding and remedy."""

from vdt3d.io.archives import extract
from vdt3d.io.cache import LazyArray, list_cases, read_case, read_record, write_case
from vdt3d.io.checks import ScanError, ScanWarning, check_same_grid
from vdt3d.io.dicom import list_series
from vdt3d.io.dicom_seg import SegSource, check_segment_names, write_dicom_seg
from vdt3d.io.nifti import write_nifti
from vdt3d.io.read import fitting_options, read_image, read_label_map, read_volume
from vdt3d.io.scans import Scan, channel_files, find_scans, scan_name, with_series
from vdt3d.io.series import CachedSeries, PictureSeries, Series, write_series
from vdt3d.io.slices import SliceStack, find_slices, open_slices

__all__ = [
    "CachedSeries",
    "LazyArray",
    "PictureSeries",
    "Scan",
    "ScanError",
    "ScanWarning",
    "SegSource",
    "Series",
    "SliceStack",
    "channel_files",
    "check_same_grid",
    "check_segment_names",
    "extract",
    "find_scans",
    "find_slices",
    "fitting_options",
    "list_cases",
    "list_series",
    "open_slices",
    "read_case",
    "read_image",
    "read_label_map",
    "read_record",
    "read_volume",
    "scan_name",
    "with_series",
    "write_case",
    "write_dicom_seg",
    "write_nifti",
    "write_series",
]
