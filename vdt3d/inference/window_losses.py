"""WindowLosses: a network that also computes the loss of every window it is given; arrays are (C, D, H, W)."""

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vdt3d.inference.ensemble import Network
from vdt3d.structures import SegmentationSample
from vdt3d.transforms import SpatialTransform

# From logits (B, K, D, H, W) and label maps (B, d, H, W) of windows to the terms of their mean loss.
Criterion = Callable[[Tensor, Tensor], dict[str, Tensor]]


class WindowLosses:
    """Network of windows whose last channel is their label map; it returns the logits of the other channels.

    Args:
        network: from windows (B, C, D, H, W) to logits.
        criterion: computes the loss terms of a batch of windows.
    """

    def __init__(self, network: Network, criterion: Criterion):
        self.network, self.criterion = network, criterion
        self.sums: defaultdict[str, Tensor | float] = defaultdict(float)
        self.windows = 0

    def __call__(self, windows: Tensor) -> Tensor:
        logits = self.network(windows[:, :-1])
        for name, value in self.criterion(logits, windows[:, -1].round().to(torch.uint8)).items():
            self.sums[name] += len(windows) * value.detach()
        self.windows += len(windows)
        return logits

    def means(self) -> dict[str, float]:
        """Return the mean of each term over all windows, mirrored ones included."""
        return {name: float(total) / self.windows for name, total in self.sums.items()}


def with_truth(image_CDHW: Tensor, sample: SegmentationSample) -> Tensor:
    """Return the image with ``sample.reference``, moved to the image's grid, as a further channel.

    Raises:
        ValueError: the reference does not reach the shape of the image through ``sample.history``.
    """
    truth = sample.reference
    for transform, drawn in sample.history:
        if isinstance(transform, SpatialTransform):
            truth = transform.apply(truth, **drawn)
    if truth.shape != tuple(image_CDHW.shape[1:]):
        raise ValueError(
            f"case '{sample.sample_name}': the reference becomes {truth.shape} voxels through the pipeline, the image "
            f"has {tuple(image_CDHW.shape[1:])}; the transforms must move image and label map alike"
        )
    truth_1DHW = torch.from_numpy(np.array(truth.array, dtype=np.float32))
    return torch.cat([image_CDHW, truth_1DHW.to(image_CDHW)])
