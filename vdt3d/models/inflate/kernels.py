"""Kernels of pictures as kernels of volumes; pure functions on tensors, (O, I, H, W) to (O, I, D, H, W)."""

from torch import Tensor

FILLINGS = ("i3d", "centre")
COLOURS = 3


def inflate_kernel(weight: Tensor, depth: int, how: str) -> Tensor:
    """A kernel of ``depth`` slices that answers a stack of equal slices as ``weight`` answers the one picture.

    Args:
        weight: of a 2D convolution, (O, I, H, W).
        depth: slices of the result; 1 has one filling only.
        how: 'i3d' repeats the kernel and divides by ``depth`` (Carreira and Zisserman 2017, section 2.4.1); 'centre'
            puts it into slice ``depth // 2`` between zeros.

    Returns:
        (O, I, ``depth``, H, W); its sum over depth is ``weight``.

    Raises:
        ValueError: another ``how``.
    """
    if how not in FILLINGS:
        raise ValueError(f"how={how!r} does not tell how to fill a kernel of depth {depth}; say one of {FILLINGS}")
    if how == "i3d":
        return weight.unsqueeze(2).repeat(1, 1, depth, 1, 1) / depth
    kernel = weight.new_zeros((*weight.shape[:2], depth, *weight.shape[2:]))
    kernel[:, :, depth // 2] = weight
    return kernel


def fit_input_channels(weight: Tensor, channels: int, rgb: str = "sum") -> Tensor:
    """A kernel (O, I, ...) for ``channels`` input channels.

    Colours become one channel by their sum: the answer to a grey image in all three colours stays what it was ('mean'
    is a third of it). They become n channels by turns, times 3 / n, as timm has it. One channel becomes n by copies,
    each divided by n.

    Raises:
        ValueError: the kernel has neither 1 nor 3 nor ``channels`` input channels, or ``rgb`` is another word.
    """
    if rgb not in ("sum", "mean"):
        raise ValueError(f"rgb={rgb!r} is neither 'sum' nor 'mean'")
    given = weight.shape[1]
    if given == channels:
        return weight
    if given not in (1, COLOURS):
        raise ValueError(f"a kernel for {given} input channels cannot be fitted to {channels}; only 1 or 3 can")
    if given == COLOURS and channels == 1:
        return weight.sum(1, keepdim=True) if rgb == "sum" else weight.mean(1, keepdim=True)
    turns = [channel % given for channel in range(channels)]
    return weight[:, turns] * (given / channels)
