"""Networks that turn volumes into features."""

from medseg.models.backbones.unet3d import UNet3D

__all__ = ["UNet3D"]
