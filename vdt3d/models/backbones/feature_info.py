"""What a backbone announces about its outputs, so that no channel list is typed twice."""

from typing import NamedTuple


class FeatureInfo(NamedTuple):
    """One output of a backbone: an input of n voxels along an axis gives ceil(n / stride) of them."""

    name: str
    channels: int
    stride: tuple[int, int, int]  # (D, H, W)
