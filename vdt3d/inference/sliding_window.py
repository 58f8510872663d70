"""SlidingWindow: windows laid over a scan, their overlapping scores averaged slab by slab, never the scan's at once."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Literal

import torch
from torch import Tensor

from vdt3d.inference.ensemble import Network
from vdt3d.inference.inferer import Inferer
from vdt3d.registry import TASK_UTILS

SIGMA = 0.125  # of the window's side, MONAI's and nnU-Net's choice
LEAST = 1e-3  # the least weight, MONAI's: in corners that one window alone covers, the Gaussian is next to nothing


@TASK_UTILS.register_module()
class SlidingWindow(Inferer):
    """Weighted mean of the logits of overlapping windows.

    Windows start every ``stride`` voxels, the last one ends at the border: MONAI's placement for an equal ``overlap``,
    and the published ``slide3d`` for ``stride=(12, 128, 128), weights="uniform"``. They go along the axis on which they
    are shortest in proportion to the scan; a slab that no further window touches is decided and dropped. So besides
    the labels there are K x (window's side) x (the scan's cross-section) scores in memory, however long the scan.

    Args:
        window: voxels (D, H, W) the network is fed.
        overlap: share of a window that the next one covers as well, in [0, 1).
        stride: voxels (D, H, W) from one window to the next, in place of ``overlap``.
        weights: "gaussian" trusts the middle of a window more than its border, "uniform" all of it alike.
        batch: windows that go through the network together.
        device: where the network computes; by default where the image is.
        accumulate: where scores are summed. "auto": where the image is, unless that is a GPU whose free memory they
            would fill by more than half: then in the host's memory.
        **kwargs: ``flips``, ``temperature`` and ``post_process`` of ``Inferer``.

    Raises:
        ValueError: a window, overlap, stride, batch or kind of weights that cannot be. (On use) the network answers
            logits of another shape than its window.
    """

    def __init__(
        self,
        window: Sequence[int],
        *,
        overlap: float = 0.5,
        stride: Sequence[int] | None = None,
        weights: Literal["gaussian", "uniform"] = "gaussian",
        batch: int = 1,
        device: str | None = None,
        accumulate: Literal["auto"] | str = "auto",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.window = tuple(window)
        if len(self.window) != 3 or not all(isinstance(side, int) and side > 0 for side in self.window):
            raise ValueError(f"a window has three positive sides (D, H, W), got {window!r}")
        if not 0 <= overlap < 1:
            raise ValueError(f"overlap={overlap} is no share of a window; choose from 0 up to below 1")
        # In this very form, since 96 * (1 - 0.9) and 96 - 96 * 0.9 are not rounded alike.
        self.stride = tuple(max(1, int(side * (1 - overlap))) for side in self.window) if stride is None else (*stride,)
        if len(self.stride) != 3 or any(not 0 < s <= w for s, w in zip(self.stride, self.window, strict=True)):
            raise ValueError(f"stride={stride} leaves gaps between windows {self.window}, or does not move on")
        if weights not in ("gaussian", "uniform"):
            raise ValueError(f"weights={weights!r} is unknown; choose 'gaussian' or 'uniform'")
        if batch < 1:
            raise ValueError(f"batch={batch}: at least one window goes through the network")
        self.weights, self.batch, self.device, self.accumulate = weights, batch, device, accumulate

    def padded_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(map(max, shape, self.window))

    def outer_axis(self, shape: tuple[int, ...]) -> int:
        return min(range(3), key=lambda axis: self.window[axis] / shape[axis])

    def slabs(self, network: Network, image_CDHW: Tensor, outer: int) -> Iterator[Tensor]:
        shape = list(image_CDHW.shape[1:])
        starts = [window_starts(*sides) for sides in zip(shape, self.window, self.stride, strict=True)]
        # The axis "outer" of all sums is as long as a window: the planes that windows still have something to add to.
        open_shape = [*shape[:outer], self.window[outer], *shape[outer + 1 :]]
        sums = None
        for start, following in zip(starts[outer], [*starts[outer][1:], shape[outer]], strict=True):
            corners = list(product(*starts[:outer], [start], *starts[outer + 1 :]))
            for first in range(0, len(corners), self.batch):
                some = corners[first : first + self.batch]
                logits = self._answer(network, image_CDHW, some)
                if sums is None:
                    place = self._place(image_CDHW, 4 * logits.shape[1] * torch.Size(open_shape).numel())
                    sums = torch.zeros(logits.shape[1], *open_shape, device=place)
                    counts = torch.zeros(open_shape, device=place)
                    weights_DHW = importance(self.window, self.weights).to(place)
                for number, corner in enumerate(some):
                    low = [*corner[:outer], 0, *corner[outer + 1 :]]
                    here = tuple(slice(at, at + side) for at, side in zip(low, self.window, strict=True))
                    sums[:, *here].addcmul_(logits[number].to(place, torch.float32), weights_DHW)
                    counts[here].add_(weights_DHW)
                del logits  # or they would wait for the network's next answer
            planes, covered = sums.movedim(1 + outer, 1), counts.movedim(outer, 0)
            done = following - start
            planes[:, :done].div_(covered[:done])
            yield planes[:, :done]
            for kept in range(done, self.window[outer]):  # plane by plane: old and new places overlap
                planes[:, kept - done], covered[kept - done] = planes[:, kept], covered[kept]
            planes[:, -done:], covered[-done:] = 0, 0

    def _answer(self, network: Network, image_CDHW: Tensor, corners: list[tuple[int, ...]]) -> Tensor:
        """The network's logits (B, K, D, H, W) for the windows at ``corners``."""
        windows = [
            image_CDHW[:, *(slice(low, low + side) for low, side in zip(corner, self.window, strict=True))]
            for corner in corners
        ]
        batch = torch.stack(windows) if len(windows) > 1 else windows[0][None]
        logits = network(batch.to(self.device or batch.device))
        if logits.ndim != 5 or (len(logits), *logits.shape[2:]) != (len(batch), *self.window):
            raise ValueError(
                f"the network answers {tuple(logits.shape)} to windows {tuple(batch.shape)}; wanted are logits "
                "(B, K, D, H, W) of the windows' own size: choose a window that its strides divide"
            )
        return logits

    def _place(self, image: Tensor, needed: int) -> torch.device:
        """Where ``needed`` bytes of sums are kept."""
        if self.accumulate != "auto":
            return torch.device(self.accumulate)
        if image.is_cuda and 2 * needed > torch.cuda.mem_get_info(image.device)[0]:
            return torch.device("cpu")
        return image.device


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """The first voxel of each window along an axis of ``length`` >= ``window`` voxels."""
    last = length - window
    return [*range(0, last, stride), last]


def importance(window: Sequence[int], kind: Literal["gaussian", "uniform"]) -> Tensor:
    """(D, H, W): how much each voxel of a window counts, 1 in its middle. The Gaussian is MONAI's."""
    weights_DHW = torch.ones(*window)
    if kind == "gaussian":
        for axis, side in enumerate(window):
            from_middle = torch.arange(side) - (side - 1) / 2
            profile = torch.exp(-(from_middle**2) / (2 * (SIGMA * side) ** 2))
            weights_DHW *= profile.view([-1 if axis == other else 1 for other in range(3)])
    return weights_DHW.clamp(min=LEAST)
