"""From lesions as published, or volumes with 3D boxes, to key slices with annotations and a cache of slices."""

from vdt3d.datasets.prepare.annotations import Report
from vdt3d.datasets.prepare.deeplesion import prepare_deeplesion
from vdt3d.datasets.prepare.lesion_scans import prepare_lesion_scans

__all__ = ["Report", "prepare_deeplesion", "prepare_lesion_scans"]
