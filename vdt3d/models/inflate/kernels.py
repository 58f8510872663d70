"""Kernels of pictures as kernels of volumes; pure functions on tensors, (O, I, H, W) to (O, I, D, H, W)."""

import torch
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
    """Return a kernel (O, I, ...) for ``channels`` input channels.

    Copies of a grey image give the same output as before: fewer channels share the sum of the given ones equally
    ('mean': one channel takes the mean of the colours); more take the given ones by turns, each divided by the number
    of channels that take it.

    Raises:
        ValueError: ``rgb`` is another word.
    """
    if rgb not in ("sum", "mean"):
        raise ValueError(f"rgb={rgb!r} is not supported: choose 'sum' or 'mean'")
    given = weight.shape[1]
    if given == channels:
        return weight
    if channels < given:
        one = weight.sum(1, keepdim=True) if rgb == "sum" or channels > 1 else weight.mean(1, keepdim=True)
        return one.repeat_interleave(channels, 1) / channels
    turns = [channel % given for channel in range(channels)]
    takers = weight.new_tensor([turns.count(channel) for channel in turns])
    return weight[:, turns] / takers.view(-1, *[1] * (weight.dim() - 2))


def grey_kernel(weight: Tensor, channels: int) -> Tensor:
    """A kernel (O, 3 or 1, ...) of pictures as one that takes the mean of ``channels`` as the grey picture.

    The sum of the colours, divided among the channels: how TransSeg (Zhang et al. 2022) takes sequences of MRI.

    Raises:
        ValueError: a kernel for other input channels.
    """
    if weight.shape[1] not in (1, COLOURS):
        raise ValueError(f"a kernel for {weight.shape[1]} input channels is none for grey pictures or for colours")
    return weight.sum(1, keepdim=True).repeat_interleave(channels, 1) / channels


def spread_over_slices(weight: Tensor, channels: int, *, slices: int, place: int, how: str = "average") -> Tensor:
    """A kernel (O, 3 or 1, H, W) of pictures for windows of slices that are a picture's channels, channel by channel.

    Equal slices are answered as the grey picture in all colours was, whatever ``how``.

    Args:
        channels: of the result: those of the volume times ``slices``.
        slices: of a window.
        place: in the window, of the slice that is answered.
        how: 'average' gives every slice an equal share of the colours' sum, as I3D fills a kernel; 'repeat' gives
            slices the colours by turns, each divided by how many take it; 'centre' gives all to the slice at ``place``,
            so that training begins with the 2D network.

    Raises:
        ValueError: another ``how``, or a kernel for other input channels.
    """
    grey = grey_kernel(weight, 1)
    if how == "repeat":
        window = fit_input_channels(weight, slices)
    else:
        share = {"average": torch.full((slices,), 1 / slices), "centre": torch.eye(slices)[place]}
        if how not in share:
            raise ValueError(f"first_conv={how!r} is none of average, repeat, centre")
        window = grey * share[how].to(weight).view(1, -1, 1, 1)
    volumes = channels // slices
    return window.repeat(1, volumes, 1, 1) / volumes
