"""The losses of the original VDT release: right by default, and as published where ``legacy=True`` asks for it."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from medseg.models.losses.base import Comparison, SumLoss3D, VolumeLoss, mean
from medseg.models.losses.overlap import DiceLoss3D
from medseg.models.losses.voxelwise import CrossEntropyLoss3D
from vdt3d.registry import MODELS


@MODELS.register_module()
class DiceCELoss3D(SumLoss3D):
    """Dice and cross-entropy; with ``lambda_ce=0.3`` the loss of the published BCV runs.

    Args:
        lambda_dice: weight of the Dice loss.
        lambda_ce: weight of the cross-entropy.
        squared: ``DiceLoss3D``'s.
        batch: ``DiceLoss3D``'s.
        include_background: whether class 0 counts in the Dice loss.
        class_weight: of both; one number per class or region.
        loss_weight: factor of the sum.
    """

    def __init__(
        self,
        *,
        lambda_dice: float = 1.0,
        lambda_ce: float = 1.0,
        squared: bool = True,
        batch: bool = False,
        include_background: bool = True,
        class_weight: Sequence[float] | None = None,
        loss_weight: float = 1.0,
    ):
        dice = DiceLoss3D(
            squared=squared,
            batch=batch,
            include_background=include_background,
            class_weight=class_weight,
            loss_weight=lambda_dice,
        )
        super().__init__([dice, CrossEntropyLoss3D(class_weight, loss_weight=lambda_ce)], loss_weight=loss_weight)


@MODELS.register_module()
class ComboLoss(VolumeLoss):
    """Cross-entropy and the Dice loss of the foreground, as the published LiTS runs meant them.

    The published Dice term has I + P + T below the line in place of P + T, so a perfect answer still costs 1/3 of its
    weight; its cross-entropy divides by all voxels, the ignored ones too. ``legacy=True`` computes these.

    Args:
        loss_weight: of the cross-entropy and of the Dice loss.
        smooth: what makes a class that is absent and not predicted perfect.
        legacy: compute the published loss.

    Raises:
        ValueError: (on use) ``legacy`` with regions, which the published loss does not know.
    """

    def __init__(self, loss_weight: tuple[float, float] = (1.0, 0.5), smooth: float = 1e-3, legacy: bool = False):
        super().__init__()
        self.ce_weight, self.dice_weight = loss_weight
        self.smooth, self.legacy = smooth, legacy
        self.ce, self.dice = CrossEntropyLoss3D(), DiceLoss3D(include_background=False, smooth=smooth)

    def terms(self, comparison: Comparison) -> dict[str, Tensor]:
        if self.legacy:
            _refuse_regions(comparison)
            ce = self.ce.total_and_count(comparison)[0] / comparison.target.numel()
            dice = 1 - self._published_overlap(comparison)
        else:
            ce, dice = self.ce.terms(comparison)["ce"], self.dice.terms(comparison)["dice"]
        return {"ce": self.ce_weight * ce, "dice": self.dice_weight * dice}

    def _published_overlap(self, comparison: Comparison) -> Tensor:
        p, t = comparison.probability[:, 1:], comparison.truth[:, 1:]
        both, sizes = (p * t).sum((2, 3, 4)), (p + t).sum((2, 3, 4))
        smooth = self.smooth * (sizes == 0)
        return ((2 * both + smooth) / (both + sizes + self.smooth)).mean()


@MODELS.register_module()
class CombineLoss(VolumeLoss):
    """Cross-entropy, averaged over the classes too, and the Dice loss of the batch: what the published LIDC runs meant.

    The Dice term is, of each class present in the batch, 1 - (2 I + 1) / (P + T + 1) from sums over the whole batch,
    added up and divided by the number of classes. The published cross-entropy normalises over the width of the volume
    in place of its classes; ``legacy=True`` computes it.

    Args:
        loss_weight: of the cross-entropy and of the Dice loss.
        legacy: compute the published loss.

    Raises:
        ValueError: ``legacy`` with other weights than (1.0, 0.5), for the published code trained with these whatever
            its configs said; (on use) ``legacy`` with regions or ignored voxels, unknown to the published loss.
    """

    def __init__(self, loss_weight: tuple[float, float] = (1.0, 0.5), legacy: bool = False):
        super().__init__()
        if legacy and tuple(loss_weight) != (1.0, 0.5):
            raise ValueError(
                f"loss_weight={loss_weight}: the published code trained with (1.0, 0.5) whatever its configs said; "
                "leave loss_weight out, or legacy"
            )
        self.ce_weight, self.dice_weight = loss_weight
        self.legacy = legacy
        self.ce = CrossEntropyLoss3D()

    def terms(self, comparison: Comparison) -> dict[str, Tensor]:
        if self.legacy:
            _refuse_regions(comparison)
            if comparison.any_ignored:
                raise ValueError("the published CombineLoss knows no ignored voxels (label 255); leave out legacy=True")
            ce = -(F.log_softmax(comparison.logits, dim=-1) * comparison.truth).mean()
        else:
            total, count = self.ce.total_and_count(comparison)
            # One true class in K per voxel: the mean over all entries is the mean over voxels divided by K. A mean
            # over regions already is one over all entries.
            ce = mean(total, count) / (comparison.logits.shape[1] if comparison.exclusive else 1)
        return {"ce": self.ce_weight * ce, "dice": self.dice_weight * self._dice(comparison)}

    def _dice(self, comparison: Comparison) -> Tensor:
        p, t = comparison.probability, comparison.truth
        both, guess, truth = (x.sum((0, 2, 3, 4)) for x in (p * t, p, t))
        each_K = 1 - (2 * both + 1) / (guess + truth + 1)
        return (each_K * (truth > 0)).sum() / len(each_K)


def _refuse_regions(comparison: Comparison) -> None:
    if not comparison.exclusive:
        raise ValueError("the published loss knows no overlapping regions; leave out legacy=True")
