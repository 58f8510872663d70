"""SliceWindowInferer: a network of slice windows led through a scan, slice by slice, a batch of windows at a time."""

from collections import defaultdict
from collections.abc import Iterator
from copy import copy

import numpy as np
import torch
from torch import Tensor

from vdt3d.inference.ensemble import Network
from vdt3d.inference.inferer import Inferer
from vdt3d.registry import TASK_UTILS
from vdt3d.structures import IGNORED, OUTSIDE, SegmentationSample, SliceWindow, Volume
from vdt3d.transforms import IntensityTransform


@TASK_UTILS.register_module()
class SliceWindowInferer(Inferer):
    """Feeds the window about every slice of a scan and puts the answers back into their places.

    The network answers a batch (B, C, n, H, W) with logits (B, K, t, H, W) of the t slices that the window says it
    answers. Where windows answer a slice several times (``target="all"``), the mean of their logits counts. Scores are
    in memory for a batch of slices only.

    Args:
        window: which slices the network sees, a ``SliceWindow`` or its arguments; a ``SliceWindowSegmentor`` gives it.
        axis: "D", "H" or "W": along which axis of the scan slices follow one another.
        batch: windows that go through the network together.
        divisor: the sides of a slice are padded to a multiple of it.
        device: where the network computes; by default where the image is.
        **kwargs: ``flips``, ``temperature`` and ``post_process`` of ``Inferer``.

    Raises:
        ValueError: an axis, batch or divisor that cannot be; flips along the axis of the slices where windows run
            ahead of their target. (On use) the network answers logits of another shape.
    """

    def __init__(
        self,
        window: SliceWindow | dict,
        *,
        axis: str = "D",
        batch: int = 8,
        divisor: int = 32,
        device: str | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.window = SliceWindow.of(window)
        if axis not in ("D", "H", "W") or batch < 1 or divisor < 1:
            raise ValueError(f"axis={axis!r}, batch={batch}, divisor={divisor}: 'D', 'H' or 'W', and numbers from 1")
        if self.window.target == "first" and axis in self.flips:
            raise ValueError(f"flips={self.flips!r}: mirrored along {axis}, windows that run ahead would run back")
        self.outer, self.batch, self.divisor, self.device = "DHW".index(axis), batch, divisor, device
        self.step = None if self.window.stride_mm else self.window.stride
        self.blank = 0.0  # what a slice of zeros has become on its way to the network, for each channel

    def padded_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        padded = [-(-side // self.divisor) * self.divisor for side in shape]
        padded[self.outer] = shape[self.outer]
        return tuple(padded)

    def outer_axis(self, shape: tuple[int, ...]) -> int:
        return self.outer

    def fitted(self, sample: SegmentationSample, channels: int, *, labelled: bool = False) -> "SliceWindowInferer":
        """Return this inferer with strides in mm as those of this scan, and what its slices of zeros have become."""
        own = copy(self)
        _, affine = sample.grid
        own.step = self.window.step(float(np.linalg.norm(affine[:3, self.outer])))
        if self.window.edge == "zero":
            own.blank = _blank(sample, channels)
            if labelled:
                own.blank = torch.cat([own.blank, torch.tensor([float(IGNORED)])])
        return own

    def slabs(self, network: Network, image_CDHW: Tensor, outer: int) -> Iterator[Tensor]:
        if self.step is None:
            raise ValueError("a stride in mm wants the spacing of the scan: call segment with its sample")
        slices = image_CDHW.movedim(1 + outer, 1)
        length = slices.shape[1]
        sums, counts = {}, defaultdict(int)
        done = 0
        for first in range(0, length, self.batch):
            targets = range(first, min(first + self.batch, length))
            logits = self._answer(network, slices, targets).to(image_CDHW.device, torch.float32)
            for window, target in zip(logits, targets, strict=True):
                start = self.window.start(target, self.step)
                for answer, place in enumerate(self.window.answered):
                    position = start + place * self.step
                    if 0 <= position < length:
                        sums[position] = window[:, answer] + sums.pop(position, 0)
                        counts[position] += 1
            # No window to come begins before this slice.
            finished = length if targets.stop == length else max(done, self._first_answer(targets.stop))
            if finished > done:
                yield torch.stack([sums.pop(n) / counts.pop(n) for n in range(done, finished)], dim=1)
                done = finished

    def _first_answer(self, target: int) -> int:
        """The first slice that the window about ``target`` answers."""
        return self.window.start(target, self.step) + self.window.answered[0] * self.step

    def _answer(self, network: Network, slices: Tensor, targets: range) -> Tensor:
        """The network's logits (B, K, t, H, W) for the windows about ``targets`` of ``slices`` (C, D, H, W)."""
        positions = [self.window.positions(target, slices.shape[1], self.step) for target in targets]
        index = torch.tensor(positions, device=slices.device)
        batch = slices[:, index.clamp(min=0)].movedim(0, 1)
        if (outside := index == OUTSIDE).any():
            blank = torch.as_tensor(self.blank, dtype=batch.dtype, device=batch.device).view(-1, 1, 1, 1, 1)
            batch = torch.where(outside[:, None, :, None, None], blank.movedim(0, 1), batch)
        logits = network(batch.to(self.device or batch.device))
        wanted = (len(batch), len(self.window.answered), *slices.shape[2:])
        if logits.ndim != 5 or (len(logits), *logits.shape[2:]) != wanted:
            raise ValueError(
                f"the network answers {tuple(logits.shape)} to windows {tuple(batch.shape)}; wanted are logits "
                f"(B, K, D, H, W) of {wanted[1]} slices of that size"
            )
        return logits


def _blank(sample: SegmentationSample, channels: int) -> Tensor:
    """(C,) what the intensity transforms of a case make of a voxel of 0."""
    voxel = Volume(np.zeros((channels, 1, 1, 1), np.float32))
    for transform, drawn in sample.history:
        if isinstance(transform, IntensityTransform):
            voxel = transform.apply(voxel, **drawn)
    return torch.from_numpy(np.array(voxel.array, dtype=np.float32)).flatten()
