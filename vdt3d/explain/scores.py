"""What is explained: one number that a network says of an image, from a batch (B, C, D, H, W) to scores (B,)."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import box_iou

Score = Callable[[Tensor], Tensor]


def log_odds(logits: Tensor, target: int) -> Tensor:
    """log(p / (1 - p)) of class ``target``, (B, ...), from logits (B, K, ...) of classes that exclude one another.

    Of two classes it is the difference of their logits: what speaks against one speaks for the other, which one logit
    alone does not tell. A single logit is that of class 1 against class 0.

    Raises:
        ValueError: there is no such class.
    """
    count = logits.shape[1]
    if not 0 <= target < max(count, 2):
        raise ValueError(f"target {target} is no class: there are {max(count, 2)}, from 0")
    if count == 1:
        return logits[:, 0] if target else -logits[:, 0]
    others = [number for number in range(count) if number != target]
    return logits[:, target] - logits[:, others].logsumexp(1)


def class_score(network: Callable[[Tensor], Tensor], target: int) -> Score:
    """How sure a classifier, whose logits are (B, K), is of a class: its log odds."""
    return lambda batch: log_odds(network(batch), target)


def region_score(
    network: Callable[[Tensor], Tensor], target: int, inside: Tensor, *, overlapping: bool = False
) -> Score:
    """The mean log odds of a class over the voxels of a region, of a network that labels voxels.

    Args:
        network: answers logits (B, K, D, H, W).
        target: the class.
        inside: (D, H, W) bool, on the grid of the logits.
        overlapping: each of the K scores stands for itself (sigmoid).

    Raises:
        ValueError: the region is empty. (On use) the network answers another grid.
    """
    if not inside.any():
        raise ValueError("the region holds no voxel of the grid that the network sees: give a larger one")

    def score(batch: Tensor) -> Tensor:
        logits = network(batch)
        if logits.shape[2:] != inside.shape:
            raise ValueError(f"logits {tuple(logits.shape[2:])} do not lie on the region's grid {tuple(inside.shape)}")
        odds = logits[:, target] if overlapping else log_odds(logits, target)
        return odds[:, inside].mean(1)

    return score


def finding_score(detect: Callable[[Tensor], Sequence[Mapping[str, Tensor]]], box: Tensor, label: int) -> Score:
    """How well and how surely a detector finds one thing: the greatest product of score and overlap with its box.

    The overlap is the intersection over the union, as in D-RISE (Petsiuk et al. 2021). Where nothing of the label is
    found, it is 0.

    Args:
        detect: from a batch to what is found in each image: boxes (N, 4), scores and labels (N,).
        box: (4,), of the thing.
        label: its label.
    """

    def one(image: Tensor, found: Mapping[str, Tensor]) -> Tensor:
        same = found["labels"] == label
        overlaps = box_iou(found["boxes"][same], box[None].to(found["boxes"]))[:, 0]
        known = (overlaps * found["scores"][same]).flatten()
        return functional.pad(known, (0, 1)).max() + 0 * image.sum()  # a gradient, if of zeros, in any case

    return lambda batch: torch.stack([one(*pair) for pair in zip(batch, detect(batch), strict=True)])
