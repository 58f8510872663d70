"""Everybody's vocabulary: volumes, label maps, samples. Arrays are (C, D, H, W), spacing is (z, y, x) in mm."""

from vdt3d.structures.sample import Sample
from vdt3d.structures.volume import LabelMap, Volume, affine_from_spacing

__all__ = ["LabelMap", "Sample", "Volume", "affine_from_spacing"]
