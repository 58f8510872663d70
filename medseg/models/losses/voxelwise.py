"""Losses that judge each voxel by itself: cross-entropy and focal loss."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from medseg.models.losses.base import ClassWeights, Comparison, VolumeLoss, mean
from vdt3d.registry import MODELS


@MODELS.register_module()
class CrossEntropyLoss3D(VolumeLoss):
    """Cross-entropy of classes (softmax) or regions (sigmoid): the mean over the voxels that count.

    Args:
        class_weight: one number per class or region; the mean becomes a weighted one, as in ``torch``'s own.
        loss_weight: factor of the loss.
    """

    def __init__(self, class_weight: Sequence[float] | None = None, *, loss_weight: float = 1.0):
        super().__init__(loss_weight=loss_weight)
        self.class_weights = ClassWeights(class_weight)

    def terms(self, comparison: Comparison) -> dict[str, Tensor]:
        total, count = self.total_and_count(comparison)
        return {"ce": mean(total, count)}

    def total_and_count(self, comparison: Comparison) -> tuple[Tensor, Tensor]:
        """What the voxels add up to, and by what a mean over them divides."""
        weights = self.class_weights.of(comparison.logits.shape[1])
        counted = comparison.counted
        if comparison.exclusive:
            each = F.nll_loss(comparison.log_probability, comparison.index, weights, reduction="none")
            weights = counted[:, 0] if weights is None else weights[comparison.index] * counted[:, 0]
            return (each * counted[:, 0]).sum(), weights.sum()
        each = F.binary_cross_entropy_with_logits(comparison.logits, comparison.truth, reduction="none")
        if weights is not None:
            counted = counted * weights.view(-1, 1, 1, 1)
        return (each * counted).sum(), counted.sum()


@MODELS.register_module()
class FocalLoss3D(VolumeLoss):
    """MONAI's focal loss (Lin et al. 2017): -(1 - p)^gamma log p, the mean over the channels of voxels that count.

    Args:
        gamma: how much less a voxel counts the surer the network is of it.
        include_background: whether class 0 counts; regions have no background.
        class_weight: one number per class or region, by which its share is multiplied.
        loss_weight: factor of the loss.
    """

    def __init__(
        self,
        gamma: float = 2.0,
        *,
        include_background: bool = True,
        class_weight: Sequence[float] | None = None,
        loss_weight: float = 1.0,
    ):
        super().__init__(loss_weight=loss_weight)
        # Not at the head of the file: MONAI takes seconds to import, and every command comes by here.
        from monai.losses.focal_loss import sigmoid_focal_loss, softmax_focal_loss

        self.gamma, self.include_background = gamma, include_background
        self.focal_loss = {True: softmax_focal_loss, False: sigmoid_focal_loss}
        self.class_weights = ClassWeights(class_weight)

    def terms(self, comparison: Comparison) -> dict[str, Tensor]:
        each = self.focal_loss[comparison.exclusive](comparison.logits, comparison.truth, self.gamma)
        counted = comparison.counted.expand_as(each)
        weights = self.class_weights.of(each.shape[1])
        each = each * (counted if weights is None else counted * weights.view(-1, 1, 1, 1))
        first = int(comparison.exclusive and not self.include_background)
        return {"focal": mean(each[:, first:].sum(), counted[:, first:].sum())}
