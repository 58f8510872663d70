"""Inferer: from a network and a volume to labels, with no more of the scores in memory than a slab of the scan."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vdt3d.inference.ensemble import Ensemble, Network, mirrored
from vdt3d.inference.postprocess import PostProcess
from vdt3d.inference.slabs import cropped, likeliest, resampled
from vdt3d.inference.way_back import way_back
from vdt3d.structures import LabelMap, SegmentationSample

# C channels, K classes (or regions), D depth, H height, W width; "outer" is the axis along which slabs follow.
Decide = Callable[[Tensor], Tensor]


class Inferer(ABC):
    """How a network of patches or volumes is applied to a scan of any size.

    The network is a callable from (B, C, D, H, W) to logits (B, K, D, H, W). Where a scan is smaller than what the
    network is to be fed, 0 surrounds it evenly, and is cut off the answer.

    Args:
        flips: letters of "DHW": the mean probability over every combination of mirrorings along these axes is taken.
        post_process: steps of ``PostProcess`` for the labels on the scan's own grid.

    Raises:
        ValueError: flips that are no letters of "DHW".
        UnknownTypeError: an unknown step.
    """

    def __init__(self, *, flips: Iterable[str] = (), post_process: Sequence[dict] = ()):
        self.flips = "".join(flips)
        if len(set(self.flips)) < len(self.flips) or not set(self.flips) <= set("DHW"):
            raise ValueError(f"flips are different letters of 'DHW'; got {self.flips!r}")
        self.post_process = PostProcess(post_process)

    @abstractmethod
    def padded_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The least (D, H, W) that holds ``shape`` and can be worked on."""

    @abstractmethod
    def outer_axis(self, shape: tuple[int, ...]) -> int:
        """Along which of (D, H, W) the slabs of a volume of ``shape`` follow one another: 0, 1 or 2."""

    @abstractmethod
    def slabs(self, network: Network, image_CDHW: Tensor, outer: int) -> Iterator[Tensor]:
        """Scores of successive slabs of an image of padded shape, the axis ``outer`` moved to the front:
        (K, planes, rows, columns). A slab is valid until the next one is asked for.
        """

    def segment(
        self, network: Network, image_CDHW: Tensor, sample: SegmentationSample, decide: Decide | None = None
    ) -> LabelMap:
        """Labels on the scan's own grid, which ``sample.grid`` and ``sample.history`` tell.

        Where the image was resampled, it is the scores that are interpolated back, before the decision; other moves
        are undone on the labels.

        Args:
            decide: for scores of regions that may overlap (sigmoid): from logits (K, ...) to integer labels (...) of
                each voxel. By default the scores are of classes (softmax), and the label of the greatest is taken; a
                single score is label 1 where it is above 0.

        Raises:
            ValueError: the image is not of the shape of ``sample.grid``; the network answers NaN or another shape.
        """
        shape, affine = sample.grid
        if tuple(image_CDHW.shape[1:]) != tuple(shape):
            raise ValueError(
                f"case '{sample.sample_name}': its grid has {tuple(shape)} voxels but the image {image_CDHW.shape[1:]}"
            )
        way = way_back(sample.history, shape, affine)
        labels_DHW = self._labels(network, image_CDHW, way.corner, way.size, way.shape, decide)
        label_map = LabelMap(labels_DHW[None], way.affine)
        for transform, drawn in way.rest:
            label_map = transform.undo(label_map, **drawn)
        return self.post_process(label_map)

    def __call__(
        self,
        network: Network,
        image_CDHW: Tensor,
        *,
        shape_out: Sequence[int] | None = None,
        decide: Decide | None = None,
    ) -> np.ndarray:
        """Labels (D, H, W), as uint8 or uint16, on the image's grid or on one of ``shape_out`` voxels over its extent.

        ``decide`` and errors are those of ``segment``.
        """
        shape = tuple(image_CDHW.shape[1:])
        return self._labels(network, image_CDHW, (0, 0, 0), shape, tuple(shape_out or shape), decide)

    @torch.no_grad()
    def logits(self, network: Network, image_CDHW: Tensor, *, regions: bool = False) -> Tensor:
        """The scores (K, D, H, W) of the whole image at once, of classes or of ``regions``: for small images."""
        outer, slabs = self._slabs(network, image_CDHW, (0, 0, 0), tuple(image_CDHW.shape[1:]), regions)
        return torch.cat([scores.clone() for scores in slabs], dim=1).movedim(1, 1 + outer)

    @torch.no_grad()
    def _labels(
        self,
        network: Network,
        image_CDHW: Tensor,
        corner: tuple[int, ...],
        size: tuple[int, ...],
        shape_out: tuple[int, ...],
        decide: Decide | None,
    ) -> np.ndarray:
        """Labels of the box of ``size`` at ``corner``, sampled with ``shape_out`` voxels."""
        outer, slabs = self._slabs(network, image_CDHW, corner, size, regions=decide is not None)
        if shape_out != size:
            slabs = resampled(slabs, _first(size, outer), _first(shape_out, outer))
        labels, done = None, 0
        for scores in slabs:
            if scores.sum().isnan():
                raise ValueError("the network answers NaN; are its weights whole, and is float16 enough for it?")
            if labels is None:
                small = decide is None and len(scores) <= 256
                labels = np.empty(shape_out, np.uint8 if small else np.uint16)
                planes = np.moveaxis(labels, outer, 0)
            planes[done : done + scores.shape[1]] = (decide or likeliest)(scores).cpu().numpy()
            done += scores.shape[1]
        return labels

    def _slabs(
        self, network: Network, image_CDHW: Tensor, corner: tuple[int, ...], size: tuple[int, ...], regions: bool
    ) -> tuple[int, Iterator[Tensor]]:
        """The outer axis, and the slabs of the box of ``size`` at ``corner``."""
        if image_CDHW.ndim != 4:
            raise ValueError(f"an inferer wants one image (C, D, H, W), got shape {tuple(image_CDHW.shape)}")
        if self.flips:
            network = Ensemble(mirrored(network, self.flips), regions=regions)
        shape = tuple(image_CDHW.shape[1:])
        more = [want - have for want, have in zip(self.padded_shape(shape), shape, strict=True)]
        if any(more):
            margins = [side for count in reversed(more) for side in (count // 2, count - count // 2)]
            image_CDHW = functional.pad(image_CDHW, margins)
        outer = self.outer_axis(tuple(image_CDHW.shape[1:]))
        corner = tuple(low + count // 2 for low, count in zip(corner, more, strict=True))
        slabs = self.slabs(network, image_CDHW, outer)
        return outer, cropped(slabs, _first(corner, outer), _first(size, outer))


def _first(triple: Sequence[int], axis: int) -> tuple[int, ...]:
    """``triple`` with the entry of ``axis`` moved to the front."""
    return (triple[axis], *triple[:axis], *triple[axis + 1 :])
