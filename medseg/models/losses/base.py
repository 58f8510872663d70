"""What losses compare, computed once however many of them ask, and how they are weighted and added."""

from collections import defaultdict
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vdt3d.registry import MODELS
from vdt3d.structures import IGNORED


class Comparison:
    """Scores and truth of a batch, in float32 whatever the network computed in.

    An ignored voxel has score 0, probability 0 and truth 0 here, so it adds nothing to any sum over voxels, and no
    gradient leads back to its scores.

    Args:
        logits: scores (B, K, D, H, W) before softmax or sigmoid.
        target: labels (B, D, H, W) of classes that exclude one another (softmax), or 0 and 1 per region
            (B, K, D, H, W) (sigmoid); 255 is left out.

    Raises:
        ValueError: the shapes do not belong together.
    """

    def __init__(self, logits: Tensor, target: Tensor):
        self.exclusive = target.dim() == logits.dim() - 1
        if target.shape != (logits[:, 0].shape if self.exclusive else logits.shape):
            raise ValueError(f"scores {tuple(logits.shape)} and truth {tuple(target.shape)} are of different shapes")
        ignored = target == IGNORED
        self.any_ignored = bool(ignored.any())
        self.ignored = ignored.unsqueeze(1) if self.exclusive else ignored
        self.target = target.masked_fill(ignored, 0) if self.any_ignored else target
        self.logits = self.without_ignored(logits.float())

    def without_ignored(self, values: Tensor) -> Tensor:
        """``values`` per voxel and channel, with 0 where the voxel is ignored."""
        return values.masked_fill(self.ignored, 0) if self.any_ignored else values

    @cached_property
    def index(self) -> Tensor:
        """The true class (B, D, H, W), int64; 0 where ignored."""
        return self.target.long()

    @cached_property
    def log_probability(self) -> Tensor:
        """Of the classes (B, K, D, H, W)."""
        return F.log_softmax(self.logits, dim=1)

    @cached_property
    def probability(self) -> Tensor:
        """Of the classes or regions (B, K, D, H, W)."""
        return self.without_ignored(self.log_probability.exp() if self.exclusive else self.logits.sigmoid())

    @cached_property
    def truth(self) -> Tensor:
        """1 where the class or region is (B, K, D, H, W), else 0, float32."""
        if not self.exclusive:
            return self.target.float()
        classes = torch.arange(self.logits.shape[1], device=self.target.device).view(-1, 1, 1, 1)
        return self.without_ignored((self.target.unsqueeze(1) == classes).float())

    @cached_property
    def counted(self) -> Tensor:
        """1 where a voxel counts, broadcastable to (B, K, D, H, W), float32."""
        return (~self.ignored).float()


class VolumeLoss(nn.Module):
    """A loss whose terms are logged one by one.

    Args:
        loss_weight: factor of all its terms.
    """

    def __init__(self, *, loss_weight: float = 1.0):
        super().__init__()
        self.loss_weight = loss_weight

    def terms(self, comparison: Comparison) -> dict[str, Tensor]:
        """The terms by name, without ``loss_weight``."""
        raise NotImplementedError

    def weighted(self, comparison: Comparison) -> dict[str, Tensor]:
        """The terms by name."""
        return {name: self.loss_weight * value for name, value in self.terms(comparison).items()}

    def parts(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The terms by name, of scores and truth as ``Comparison`` describes them."""
        return self.weighted(Comparison(logits, target))

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The sum of the terms."""
        return sum(self.parts(logits, target).values())


def build_loss(config: dict | Sequence[dict | VolumeLoss] | VolumeLoss) -> VolumeLoss:
    """Build a loss over volumes, or the sum of several.

    Raises:
        ValueError: a type that is no ``VolumeLoss``, such as a loss of mmsegmentation, which takes other arguments.
    """
    if isinstance(config, list | tuple):
        config = {"type": "SumLoss3D", "losses": config}
    loss = MODELS.build(config) if isinstance(config, dict) else config
    if not isinstance(loss, VolumeLoss):
        known = sorted(name for name, part in MODELS.module_dict.items() if issubclass(part, VolumeLoss))
        near = get_close_matches(type(loss).__name__, known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ValueError(f"loss_decode: {type(loss).__name__} is no VolumeLoss; known are {', '.join(known)}{hint}")
    return loss


@MODELS.register_module()
class SumLoss3D(VolumeLoss):
    """Several losses added, each with its own ``loss_weight``; probabilities are computed once for all of them.

    Args:
        losses: their configs.
        loss_weight: factor of the sum.
    """

    def __init__(self, losses: Sequence[dict | VolumeLoss], *, loss_weight: float = 1.0):
        super().__init__(loss_weight=loss_weight)
        self.losses = nn.ModuleList(map(build_loss, losses))

    def terms(self, comparison: Comparison) -> dict[str, Tensor]:
        total = defaultdict(float)
        for loss in self.losses:
            for name, value in loss.weighted(comparison).items():
                total[name] += value
        return dict(total)


class ClassWeights(nn.Module):
    """One weight per class or region, on the scores' device; weighted means divide by the sum of the weights.

    Args:
        weights: not negative; None for equal ones.

    Raises:
        ValueError: a negative weight, or (on use) another number of weights than classes or regions.
    """

    def __init__(self, weights: Sequence[float] | None):
        super().__init__()
        weights = None if weights is None else torch.tensor(weights, dtype=torch.float32)
        if weights is not None and weights.min() < 0:
            raise ValueError(f"class_weight={weights.tolist()} must not be negative")
        self.register_buffer("weights", weights, persistent=False)  # a setting, no part of what was learnt

    def of(self, channels: int) -> Tensor | None:
        """The weights (K,), or None where all are equal."""
        if self.weights is not None and len(self.weights) != channels:
            raise ValueError(f"class_weight has {len(self.weights)} numbers for {channels} classes or regions")
        return self.weights


def mean(total: Tensor, count: Tensor) -> Tensor:
    """``total / count``, and 0 where nothing was counted: a patch without a single known voxel teaches nothing."""
    return total / count.clamp(min=torch.finfo(count.dtype).tiny)
