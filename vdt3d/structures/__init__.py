"""Everybody's vocabulary: volumes, label maps, samples. Arrays are (C, D, H, W), spacing is (z, y, x) in mm."""

from vdt3d.structures.sample import Sample
from vdt3d.structures.segmentation import SegmentationSample
from vdt3d.structures.volume import IGNORED, LabelMap, Volume, affine_from_spacing

__all__ = ["IGNORED", "LabelMap", "Sample", "SegmentationSample", "Volume", "affine_from_spacing"]
