"""From two dimensions to three: kernels, whole networks, and checkpoints."""

from vdt3d.models.inflate.kernels import fit_input_channels, inflate_kernel
from vdt3d.models.inflate.modules import ConversionError, to_3d

__all__ = ["ConversionError", "fit_input_channels", "inflate_kernel", "to_3d"]
