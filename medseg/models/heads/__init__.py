"""From features to scores per voxel and their losses."""

from medseg.models.heads.base import VolumeHead
from medseg.models.heads.conv_trans import ConvTransHead
from medseg.models.heads.fcn import FCNHead3D
from medseg.models.heads.lidc import LIDCFCNHead
from medseg.models.heads.pseudo import PseudoHead
from medseg.models.heads.pup import PUPHead
from medseg.models.heads.unetr import UNETRHead

__all__ = ["ConvTransHead", "FCNHead3D", "LIDCFCNHead", "PUPHead", "PseudoHead", "UNETRHead", "VolumeHead"]
