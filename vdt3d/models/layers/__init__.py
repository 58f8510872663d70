"""What networks are made of."""

from vdt3d.models.layers.acs_conv import ACSConv3d
from vdt3d.models.layers.folded_conv import FoldedConv3d
from vdt3d.models.layers.group_transform import GroupTransform
from vdt3d.models.layers.insertion import GaussianNoise, SpatialDropout, insert_layers
from vdt3d.models.layers.residual import ResidualBlock
from vdt3d.models.layers.safe_conv import SafeConv3d

__all__ = [
    "ACSConv3d",
    "FoldedConv3d",
    "GaussianNoise",
    "GroupTransform",
    "ResidualBlock",
    "SafeConv3d",
    "SpatialDropout",
    "insert_layers",
]
