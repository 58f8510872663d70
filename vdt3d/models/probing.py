"""Copies of networks on which shapes are found out without touching the network."""

from copy import deepcopy

from torch import nn


def shape_copy(network: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode whose tensors have shapes and no content.

    The network keeps the mode of each of its layers, and its batch norms count nothing.
    """
    shadow = deepcopy(network).to("meta")
    shadow.eval()  # which of mmsegmentation's and mmpretrain's networks returns nothing
    return shadow
