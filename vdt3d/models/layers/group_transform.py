"""From a volume to the map of one slice: that slice, a weighted sum of all by channel, or a full convolution.

Volumes are (N, C, D, H, W), maps (N, C, H, W). Each layer is built from the channels C, the slices D and the place of
the slice that is asked about. Those with weights start as that slice alone, in training from scratch and where a
checkpoint has none for them: the network then begins as the same one without them, equal slices are answered as one,
and what the neighbours add is learnt. (The release draws PyTorch's random weights, whose sum over the slices has any
sign, so that half of the channels of a pre-trained network begin turned over.)
"""

import torch
from torch import Tensor, nn

from vdt3d.models.layers.safe_conv import SafeConv3d


class GroupTransform(nn.Conv2d):
    """The group transform module: of each channel a weighted sum over the slices, as a convolution in C groups.

    Zhang et al., "Revisiting 3D context modeling with supervised pre-training for universal lesion detection in CT
    slices", MICCAI 2020. The weight is (C, D, 1, 1).
    """

    def __init__(self, channels: int, slices: int, place: int):
        super().__init__(channels * slices, channels, 1, groups=channels, bias=False)
        self.place = place
        self.fits = {"weight": _as_it_is}
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Take the slice at the place, and nothing of the others."""
        self.weight.zero_()[:, self.place] = 1

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 the name nn.Conv2d gives it
        return super().forward(input.flatten(1, 2))


class FullTransform(SafeConv3d):
    """Of each channel a weighted sum over the slices and all channels; the weight is (C, C, D, 1, 1)."""

    def __init__(self, channels: int, slices: int, place: int):
        super().__init__(channels, channels, (slices, 1, 1), bias=False)
        self.place = place
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Take of each channel the slice at the place, and nothing else."""
        self.weight.zero_()[:, :, self.place, 0, 0].fill_diagonal_(1)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 the name nn.Conv3d gives it
        return super().forward(input).squeeze(2)


class TakenSlice(nn.Module):
    """The slice at a place."""

    def __init__(self, channels: int, slices: int, place: int):
        super().__init__()
        self.place = place

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, self.place]


def _as_it_is(weight: Tensor) -> Tensor:
    """Of another number of slices: left for the loader to report. Three slices, above all, are no colours."""
    return weight


# by the word of a config: the name in state dicts, where the number of the stage follows, and the layer
CONVERSIONS: dict[str, tuple[str, type[nn.Module]]] = {
    "center_crop": ("center_crop", TakenSlice),
    "groupconv": ("groupconv", GroupTransform),
    "conv3d": ("conv3d_all", FullTransform),
    "keep3d": ("keep3d", nn.Identity),
}
