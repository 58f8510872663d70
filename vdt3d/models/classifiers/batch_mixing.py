"""CutMix3D: boxes cut from one volume and put into another, labels mixed by volume; batches (N, C, D, H, W)."""

import numpy as np
import torch
from mmpretrain.models.utils.batch_augments import Mixup
from mmpretrain.registry import BATCH_AUGMENTS
from torch import Tensor


@BATCH_AUGMENTS.register_module()
class CutMix3D(Mixup):
    """CutMix (Yun et al., ICCV 2019) with a box along all three axes, where mmpretrain's cuts a rectangle.

    The box is in every axis the same part of the side, (1 - lambda) ^ (1 / 3), with its middle anywhere; what of it
    lies outside is lost, and labels are mixed by the volume that was really replaced.

    Args:
        alpha: lambda is drawn from Beta(alpha, alpha).
    """

    def mix(self, batch_inputs: Tensor, batch_scores: Tensor) -> tuple[Tensor, Tensor]:
        """The mixed batch and its (N, classes) labels."""
        share = (1 - np.random.beta(self.alpha, self.alpha)) ** (1 / 3)
        sides = np.array(batch_inputs.shape[2:])
        half, middle = (share * sides).astype(int) // 2, np.random.randint(sides)
        low, high = np.clip(middle - half, 0, sides), np.clip(middle + half, 0, sides)
        box = tuple(slice(first, last) for first, last in zip(low, high, strict=True))
        others = torch.randperm(len(batch_inputs))
        mixed = batch_inputs.clone()
        mixed[:, :, *box] = batch_inputs[others][:, :, *box]
        kept = 1 - float((high - low).prod() / sides.prod())
        return mixed, kept * batch_scores + (1 - kept) * batch_scores[others]
