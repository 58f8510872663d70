"""Everybody's vocabulary: volumes, label maps, samples. Arrays are (C, D, H, W), spacing is (z, y, x) in mm."""

from vdt3d.structures.boxes import Boxes, Overlap, box_overlap, box_size
from vdt3d.structures.detection import DetectionSample
from vdt3d.structures.grids import describe_grids
from vdt3d.structures.overlap import overlapping_classes, overlapping_regions
from vdt3d.structures.sample import Sample
from vdt3d.structures.segmentation import SegmentationSample
from vdt3d.structures.slice_window import OUTSIDE, SliceWindow
from vdt3d.structures.spaced_window import Source, SpacedWindow
from vdt3d.structures.volume import IGNORED, LabelMap, StoredGeometry, Volume, affine_from_spacing, corner_distance

__all__ = [
    "IGNORED",
    "OUTSIDE",
    "Boxes",
    "DetectionSample",
    "LabelMap",
    "Overlap",
    "Sample",
    "SegmentationSample",
    "SliceWindow",
    "Source",
    "SpacedWindow",
    "StoredGeometry",
    "Volume",
    "affine_from_spacing",
    "box_overlap",
    "box_size",
    "corner_distance",
    "describe_grids",
    "overlapping_classes",
    "overlapping_regions",
]
