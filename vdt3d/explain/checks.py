"""Whether a map of evidence tells anything of the network: weights drawn anew, voxels removed in its order."""

from copy import deepcopy

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional

from vdt3d.explain.maps import baseline_of
from vdt3d.explain.scores import Score


def randomised(network: nn.Module, seed: int) -> nn.Module:
    """A copy whose weights are drawn anew, so that it has learnt nothing (Adebayo et al. 2018).

    Weights are drawn by He et al. (2015), all else is as its module begins.
    """
    copy = deepcopy(network)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for module in copy.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        for parameter in copy.parameters():
            if parameter.ndim > 1:  # on the CPU, so that a seed means the same wherever the network is
                fresh = nn.init.kaiming_normal_(torch.empty(parameter.shape))
                parameter.copy_(fresh)
    return copy


def likeness(one: Tensor, other: Tensor) -> float:
    """Spearman's correlation of the strengths of two maps; nan where one is flat."""
    one, other = (each.abs().flatten().double().cpu().numpy() for each in (one, other))
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(spearmanr(one, other).statistic)


@torch.no_grad()
def removal_curve(
    score: Score,
    image_CDHW: Tensor,
    heat_DHW: Tensor,
    *,
    keep: bool = False,
    steps: int = 20,
    baseline: Tensor | None = None,
    batch: int = 16,
) -> tuple[np.ndarray, np.ndarray]:
    """The score as a scan gives way to the ``baseline``, the hottest parts first (deletion; Petsiuk et al. 2018).

    Parts are boxes of an eighth of each side, as hot as their voxels on average (Samek et al. 2017): scattered voxels
    that are missing look like nothing a network has ever seen.

    Args:
        heat_DHW: on the image's grid.
        keep: begin with the baseline and put parts in, the hottest first (insertion).
        steps: how many; the share of the scan grows with their square, since evidence is small.
        baseline: of ``integrated_gradients``.
        batch: images at once.

    Returns:
        (steps + 1,) shares of the voxels that are removed, or put in, from 0 to 1, and the scores there.

    Raises:
        ValueError: the map does not lie on the image's grid.
    """
    if heat_DHW.shape != image_CDHW.shape[1:]:
        raise ValueError(f"a map {tuple(heat_DHW.shape)} does not lie on an image {tuple(image_CDHW.shape)}")
    plain = baseline_of(image_CDHW, baseline)
    before, after = (plain, image_CDHW) if keep else (image_CDHW, plain)
    rank = torch.empty(heat_DHW.numel(), dtype=torch.long, device=image_CDHW.device)
    order = _in_parts(heat_DHW).flatten().to(image_CDHW.device).argsort(descending=True, stable=True)
    rank[order] = torch.arange(len(order), device=rank.device)
    shares = (np.arange(steps + 1) / steps) ** 2
    rank, counts, scores = rank.view(heat_DHW.shape), (shares * len(order)).round().astype(int).tolist(), []
    for first in range(0, len(counts), batch):
        images = [torch.where(rank < count, after, before) for count in counts[first : first + batch]]
        scores.append(score(torch.stack(images)).float().cpu())
    return shares, torch.cat(scores).numpy()


def areas(score: Score, image_CDHW: Tensor, heat_DHW: Tensor, **options) -> dict[str, float]:
    """The areas under both curves, the score's mean on the way: ``deletion``, of a good map low, ``insertion``, high.

    Args:
        score: best a probability, whose ends mean the same for all images.
        **options: of ``removal_curve``.
    """
    return {
        name: float(np.trapezoid(*reversed(removal_curve(score, image_CDHW, heat_DHW, keep=keep, **options))))
        for name, keep in (("deletion", False), ("insertion", True))
    }


def elsewhere(heat_DHW: Tensor, rng: np.random.Generator) -> Tensor:
    """The map moved round by chance along every axis: as smooth, and of the same values, in a wrong place."""
    moves = [int(rng.integers(1, side)) if side > 1 else 0 for side in heat_DHW.shape]
    return heat_DHW.roll(moves, dims=(0, 1, 2))


def _in_parts(heat_DHW: Tensor) -> Tensor:
    """Every voxel as hot as its part on average."""
    shape = heat_DHW.shape
    size = tuple(max(1, side // 8) for side in shape)
    parts = functional.avg_pool3d(heat_DHW[None, None].float(), size, ceil_mode=True, count_include_pad=False)
    for axis, side in enumerate(size, start=2):
        parts = parts.repeat_interleave(side, axis)
    return parts[0, 0, : shape[0], : shape[1], : shape[2]]
