"""Segmentation networks, heads, losses and the segmentor that joins them."""

from medseg.models.backbones import UNet3D
from medseg.models.heads import FCNHead3D, LIDCFCNHead, PseudoHead, VolumeHead
from medseg.models.losses import (
    CombineLoss,
    ComboLoss,
    CrossEntropyLoss3D,
    DiceCELoss3D,
    DiceLoss3D,
    FocalLoss3D,
    SumLoss3D,
    TverskyLoss3D,
    VolumeLoss,
)
from medseg.models.necks import PictureUNetNeck, UNetNeck
from medseg.models.segmentors import SliceWindowSegmentor, VolumeSegmentor
from medseg.models.targets import LabelScheme

__all__ = [
    "CombineLoss",
    "ComboLoss",
    "CrossEntropyLoss3D",
    "DiceCELoss3D",
    "DiceLoss3D",
    "FCNHead3D",
    "FocalLoss3D",
    "LIDCFCNHead",
    "LabelScheme",
    "PictureUNetNeck",
    "PseudoHead",
    "SliceWindowSegmentor",
    "SumLoss3D",
    "TverskyLoss3D",
    "UNet3D",
    "UNetNeck",
    "VolumeHead",
    "VolumeLoss",
    "VolumeSegmentor",
]
