"""From the features of a backbone to those a head reads."""

from medseg.models.necks.unet_neck import UNetNeck

__all__ = ["UNetNeck"]
