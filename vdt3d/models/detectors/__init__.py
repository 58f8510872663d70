"""Models that find objects: boxes in the slice that a window of slices is about."""

from vdt3d.models.detectors.faster_rcnn import FasterRCNN3D
from vdt3d.models.detectors.one_stage import FCOS3D, RetinaNet3D
from vdt3d.models.detectors.window_detector import WindowDetector

__all__ = ["FCOS3D", "FasterRCNN3D", "RetinaNet3D", "WindowDetector"]
