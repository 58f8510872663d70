"""Models that label every voxel."""

from medseg.models.segmentors.slice_window_segmentor import SliceWindowSegmentor
from medseg.models.segmentors.volume_segmentor import VolumeSegmentor

__all__ = ["SliceWindowSegmentor", "VolumeSegmentor"]
