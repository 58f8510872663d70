"""Segmentation networks, heads, losses and the segmentor that joins them."""

from medseg.models.heads import (
    ConvTransHead,
    FCNHead3D,
    LIDCFCNHead,
    PseudoHead,
    PUPHead,
    UNETRHead,
    VolumeHead,
)
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
    "ConvTransHead",
    "CrossEntropyLoss3D",
    "DiceCELoss3D",
    "DiceLoss3D",
    "FCNHead3D",
    "FocalLoss3D",
    "LIDCFCNHead",
    "LabelScheme",
    "PUPHead",
    "PictureUNetNeck",
    "PseudoHead",
    "SliceWindowSegmentor",
    "SumLoss3D",
    "TverskyLoss3D",
    "UNETRHead",
    "UNetNeck",
    "VolumeHead",
    "VolumeLoss",
    "VolumeSegmentor",
]
