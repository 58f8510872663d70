"""Networks run without content: a copy of one, and the shapes that it returns, while the network stays untouched."""

from copy import deepcopy

import torch
from torch import Tensor, nn


def shape_copy(network: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode whose tensors have shapes and no content.

    The network keeps the mode of each of its layers, and its batch norms count nothing.
    """
    shadow = deepcopy(network).to("meta")
    shadow.eval()  # which of mmsegmentation's and mmpretrain's networks returns nothing
    return shadow


def run_on_shapes(network: nn.Module, inputs: Tensor | list[Tensor]) -> object:
    """Return the output of a network for inputs on the device "meta".

    Raises:
        ValueError: the network fails; the message contains its class, the shapes and the first line of the error.
    """
    try:
        with torch.no_grad():
            return shape_copy(network)(inputs)
    except Exception as error:  # a forward can raise anything
        shapes = [tuple(each.shape) for each in ([inputs] if isinstance(inputs, Tensor) else inputs)]
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
        raise ValueError(
            f"{type(network).__name__} fails on inputs {', '.join(map(str, shapes))}: {reason}. Choose a network that "
            "takes images of any size whose sides are multiples of 32"
        ) from error
