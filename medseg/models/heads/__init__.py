"""From features to scores per voxel and their losses."""

from medseg.models.heads.base import VolumeHead
from medseg.models.heads.fcn import FCNHead3D
from medseg.models.heads.lidc import LIDCFCNHead
from medseg.models.heads.pseudo import PseudoHead

__all__ = ["FCNHead3D", "LIDCFCNHead", "PseudoHead", "VolumeHead"]
