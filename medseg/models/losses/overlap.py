"""Losses that judge the overlap of whole objects: Dice and Tversky, MONAI's, on what ``Comparison`` left in."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from medseg.models.losses.base import ClassWeights, Comparison, VolumeLoss
from vdt3d.registry import MODELS


class _Overlap(VolumeLoss):
    """The mean over cases and classes of one of MONAI's losses per case and class.

    Args:
        name: of the term.
        overlap: MONAI's loss, with ``reduction='none'``.
        include_background: whether class 0 counts; regions have no background.
        class_weight: one number per class or region, by which its share of the mean is multiplied.
        loss_weight: factor of the loss.
    """

    def __init__(
        self,
        name: str,
        overlap: nn.Module,
        *,
        include_background: bool,
        class_weight: Sequence[float] | None,
        loss_weight: float,
    ):
        super().__init__(loss_weight=loss_weight)
        self.name, self.overlap, self.include_background = name, overlap, include_background
        self.class_weights = ClassWeights(class_weight)

    def terms(self, comparison: Comparison) -> dict[str, Tensor]:
        first = int(comparison.exclusive and not self.include_background)
        probability, truth = comparison.probability[:, first:], comparison.truth[:, first:]
        each_K = self.overlap(probability, truth).reshape(-1, probability.shape[1])
        weights = self.class_weights.of(comparison.logits.shape[1])
        return {self.name: (each_K if weights is None else each_K * weights[first:]).mean()}


def _monai(name: str, **options: Any) -> nn.Module:
    # Not at the head of the file: MONAI takes seconds to import, and every command comes by here.
    from monai import losses

    return getattr(losses, name)(reduction="none", **options)


@MODELS.register_module()
class DiceLoss3D(_Overlap):
    """1 - (2 I + smooth) / (P + T + smooth), with I the sum of p t over voxels, P and T the sums of p and t.

    Args:
        squared: take for P and T the sums of p^2 and t^2 (Milletari et al. 2016).
        batch: add the sums up over the batch before dividing, so that a case without an object needs no smoothing.
        include_background: whether class 0 counts; regions have no background.
        class_weight: one number per class or region, by which its share of the mean is multiplied.
        smooth: what makes a class that is absent and not predicted perfect.
        loss_weight: factor of the loss.
    """

    def __init__(
        self,
        *,
        squared: bool = False,
        batch: bool = False,
        include_background: bool = True,
        class_weight: Sequence[float] | None = None,
        smooth: float = 1e-5,
        loss_weight: float = 1.0,
    ):
        dice = _monai("DiceLoss", squared_pred=squared, batch=batch, smooth_nr=smooth, smooth_dr=smooth)
        super().__init__(
            "dice", dice, include_background=include_background, class_weight=class_weight, loss_weight=loss_weight
        )


@MODELS.register_module()
class TverskyLoss3D(_Overlap):
    """1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth), from soft counts (Salehi et al. 2017).

    Args:
        alpha: weight of false positives.
        beta: weight of false negatives; above ``alpha``, missing an object costs more than too large a one.
        batch: add the counts up over the batch before dividing.
        include_background: whether class 0 counts; regions have no background.
        class_weight: one number per class or region, by which its share of the mean is multiplied.
        smooth: what makes a class that is absent and not predicted perfect.
        loss_weight: factor of the loss.
    """

    def __init__(
        self,
        alpha: float = 0.3,
        beta: float = 0.7,
        *,
        batch: bool = False,
        include_background: bool = True,
        class_weight: Sequence[float] | None = None,
        smooth: float = 1e-5,
        loss_weight: float = 1.0,
    ):
        tversky = _monai("TverskyLoss", alpha=alpha, beta=beta, batch=batch, smooth_nr=smooth, smooth_dr=smooth)
        super().__init__(
            "tversky",
            tversky,
            include_background=include_background,
            class_weight=class_weight,
            loss_weight=loss_weight,
        )
