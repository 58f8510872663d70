"""From the features of a backbone to those a head reads."""

from medseg.models.necks.picture_unet_neck import PictureUNetNeck
from medseg.models.necks.unet_neck import UNetNeck

__all__ = ["PictureUNetNeck", "UNetNeck"]
