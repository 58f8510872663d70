"""The variable dimension transform: the three colours of a picture are read as the three slices of a grey volume.

Pictures pass through mmpretrain's pipeline, a dict with ``img`` (H, W, C) and, once packed, ``inputs`` (C, H, W).
"""

from mmcv.transforms import BaseTransform
from torch import Tensor

from vdt3d.registry import TRANSFORMS
from vdt3d.transforms.base import probability
from vdt3d.utils.random import stream

# Slices bear no colour, so all three share the average of ImageNet's means and of its standard deviations (0..255).
GREY_MEAN = (123.675 + 116.28 + 103.53) / 3  # 114.495
GREY_STD = (58.395 + 57.12 + 57.375) / 3  # 57.63


def colours_to_slices(picture: Tensor) -> Tensor:
    """Read the channels of pictures (C, H, W) or (N, C, H, W) as the slices of volumes (1, C, H, W) or (N, 1, C, H, W).

    Nothing is copied.

    Raises:
        ValueError: the tensor has neither three nor four axes.
    """
    if picture.ndim not in (3, 4):
        raise ValueError(f"expected pictures (C, H, W) or (N, C, H, W), got shape {tuple(picture.shape)}")
    return picture.unsqueeze(-4)


@TRANSFORMS.register_module()
class ColoursToSlices(BaseTransform):
    """After mmpretrain's ``PackInputs``: ``inputs`` (3, H, W) in the reader's order BGR become (1, 3, H, W).

    Args:
        to_rgb: put the slices in the order R, G, B, as the network was pre-trained.
    """

    def __init__(self, to_rgb: bool = True):
        self.to_rgb = to_rgb

    def transform(self, results: dict) -> dict:
        picture = results["inputs"]
        results["inputs"] = colours_to_slices(picture.flip(0) if self.to_rgb else picture)
        return results


@TRANSFORMS.register_module()
class RandomChannelShuffle(BaseTransform):
    """With chance ``prob`` put the channels of ``img`` (H, W, C) in a random order, all orders equally likely.

    The order of the slices then bears no fixed colour. It draws from a stream of its own, so that switching it off
    leaves crops and flips as they were. Records whether it was at work as ``channel_shuffle``.
    """

    def __init__(self, prob: float = 1.0):
        self.prob = probability(prob)

    def transform(self, results: dict) -> dict:
        rng = stream(type(self).__name__)
        results["channel_shuffle"] = bool(rng.random() < self.prob)
        if results["channel_shuffle"]:
            picture_HWC = results["img"]
            results["img"] = picture_HWC[..., rng.permutation(picture_HWC.shape[-1])]
        return results
