"""Memory order of convolution weights."""

import torch
from torch import nn


def to_channels_last(model: nn.Module) -> None:
    """Store every convolution weight channels-last: 5-D as channels_last_3d, 4-D as channels_last."""
    formats = {5: torch.channels_last_3d, 4: torch.channels_last}
    for parameter in model.parameters():
        if parameter.dim() in formats:
            # Kernels of one voxel lie alike in either order; their strides say which, as those of gradients will.
            ordered = torch.empty_like(parameter, memory_format=formats[parameter.dim()])
            parameter.data = ordered.copy_(parameter.data)
