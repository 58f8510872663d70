"""Losses over volumes; every one leaves out voxels of label 255 and takes exclusive classes or overlapping regions."""

from medseg.models.losses.base import Comparison, SumLoss3D, VolumeLoss, build_loss
from medseg.models.losses.overlap import DiceLoss3D, TverskyLoss3D
from medseg.models.losses.release import CombineLoss, ComboLoss, DiceCELoss3D
from medseg.models.losses.voxelwise import CrossEntropyLoss3D, FocalLoss3D

__all__ = [
    "CombineLoss",
    "ComboLoss",
    "Comparison",
    "CrossEntropyLoss3D",
    "DiceCELoss3D",
    "DiceLoss3D",
    "FocalLoss3D",
    "SumLoss3D",
    "TverskyLoss3D",
    "VolumeLoss",
    "build_loss",
]
