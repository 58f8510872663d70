"""Runs of a copy of a network that leave the network, its modes and its statistics untouched."""

from copy import deepcopy

import torch
from torch import Tensor, nn


def probe_copy(network: nn.Module, device: torch.device | str) -> nn.Module:
    """Return a copy in evaluation mode; on the device "meta" its tensors have shapes and no content."""
    copy = deepcopy(network).to(device)
    copy.eval()  # which of mmsegmentation's and mmpretrain's networks returns nothing
    return copy


def probe_output(network: nn.Module, inputs: Tensor | list[Tensor]) -> object:
    """Return the output of a network in evaluation mode, on the device of the inputs.

    Raises:
        ValueError: the network fails; the message contains its class, the shapes and the first line of the error.
    """
    every = [inputs] if isinstance(inputs, Tensor) else inputs
    try:
        with torch.no_grad():
            return probe_copy(network, every[0].device)(inputs)
    except Exception as error:  # a forward can raise anything
        shapes = ", ".join(str(tuple(each.shape)) for each in every)
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0].rstrip(".")
        raise ValueError(
            f"{type(network).__name__} fails on inputs {shapes}: {reason}. Choose a network that takes images of any "
            "size whose sides are multiples of 32"
        ) from error
