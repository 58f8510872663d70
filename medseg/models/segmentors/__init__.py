"""Models that label every voxel."""

from medseg.models.segmentors.volume_segmentor import VolumeSegmentor

__all__ = ["VolumeSegmentor"]
