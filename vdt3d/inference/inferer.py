"""Inferer: from a network and a volume to labels, with no more of the scores in memory than a slab of the scan."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vdt3d.inference.ensemble import (
    Ensemble,
    Network,
    checked_flips,
    checked_temperature,
    entropy,
    members,
    mirrored,
)
from vdt3d.inference.postprocess import PostProcess
from vdt3d.inference.slabs import cropped, likeliest, resampled
from vdt3d.inference.way_back import way_back
from vdt3d.inference.window_losses import Criterion, WindowLosses, with_truth
from vdt3d.structures import LabelMap, SegmentationSample, Volume

# C channels, K classes (or regions), D depth, H height, W width; "outer" is the axis along which slabs follow.
Decide = Callable[[Tensor], Tensor]
# From the scores (K, planes, rows, columns) of a slab to what is kept of each voxel, arrays (planes, rows, columns).
Read = Callable[[Tensor], tuple[np.ndarray, ...]]


class Assessed(NamedTuple):
    """A label map, and how far it is to be trusted, voxel by voxel from 0 to 1, on the same grid.

    Args:
        labels: the answer.
        uncertainty: the entropy of the mean probability: high wherever the answer is open.
        disagreement: the part of it that comes from views of one voxel that contradict each other, each sure of its own
            (mutual information, Houlsby et al. 2011); None where there is one view only.
    """

    labels: LabelMap
    uncertainty: Volume
    disagreement: Volume | None


class Inferer(ABC):
    """How a network of patches or volumes is applied to a scan of any size.

    The network is a callable from (B, C, D, H, W) to logits (B, K, D, H, W). Where a scan is smaller than what the
    network is to be fed, 0 surrounds it evenly, and is cut off the answer.

    Args:
        flips: letters of "DHW": the mean probability over every combination of mirrorings along these axes is taken.
        temperature: what the scores are divided by before they become probabilities (``vdt3d calibrate`` finds it). No
            class wins by it, but regions with thresholds of their own change, and the uncertainty does.
        post_process: steps of ``PostProcess`` for the labels on the scan's own grid.

    Raises:
        ValueError: flips that are no letters of "DHW", a temperature that is not positive.
        UnknownTypeError: an unknown step.
    """

    def __init__(self, *, flips: Iterable[str] = (), temperature: float = 1.0, post_process: Sequence[dict] = ()):
        self.flips, self.temperature = checked_flips(flips), checked_temperature(temperature)
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

    def fitted(self, sample: SegmentationSample, channels: int, *, labelled: bool = False) -> "Inferer":
        """Return this inferer adapted to one scan of so many channels; ``labelled``: the last one is a label map."""
        return self

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
        network = self._joined(network, regions=decide is not None)
        (labels,) = self._on_scan(network, image_CDHW, sample, lambda scores: (self._decided(scores, decide),))
        return self.post_process(labels)

    def segment_with_losses(
        self,
        network: Network,
        image_CDHW: Tensor,
        sample: SegmentationSample,
        criterion: Criterion,
        decide: Decide | None = None,
    ) -> tuple[LabelMap, dict[str, float]]:
        """Return the labels of ``segment``, and the mean loss terms over the windows the network was given.

        The windows' truth is ``sample.reference`` on the grid of the network's input; beyond the scan it is 0, or
        ignored where the window's slices are zeros. No window goes through the network twice; beside ``segment``, one
        more channel of the image is in memory.

        Args:
            criterion: from logits and label maps of a batch of windows to the terms of their loss.

        Raises:
            ValueError: as ``segment`` and ``with_truth``.
        """
        losses = WindowLosses(network, criterion)
        joined = self._joined(losses, regions=decide is not None)
        labelled = with_truth(image_CDHW, sample)
        (labels,) = self._on_scan(joined, labelled, sample, lambda scores: (self._decided(scores, decide),), True)
        return self.post_process(labels), losses.means()

    def assess(
        self, network: Network, image_CDHW: Tensor, sample: SegmentationSample, decide: Decide | None = None
    ) -> Assessed:
        """The labels of ``segment``, and how sure they are; what is outside a crop that the pipeline made is 0, sure.

        The views are those of every network of an ``Ensemble``, times the mirrorings.

        Raises:
            ValueError: as ``segment``.
        """
        regions, views = decide is not None, self._views(network)

        def read(scores: Tensor) -> tuple[np.ndarray, ...]:
            mean, of_views = scores[:-1], scores[-1]
            labels = self._decided(mean, decide)
            unsure = entropy(mean[None] / self.temperature, regions=regions)[0, 0]
            if len(views) == 1:
                return labels, unsure.cpu().numpy()
            disagree = (entropy(mean[None], regions=regions)[0, 0] - of_views).clamp_(min=0)
            return labels, unsure.cpu().numpy(), disagree.cpu().numpy()

        everyone = Ensemble(views, regions=regions, entropy=True)
        labels, unsure, *disagree = self._on_scan(everyone, image_CDHW, sample, read)
        return Assessed(self.post_process(labels), unsure, disagree[0] if disagree else None)

    def draw_scores(
        self,
        network: Network,
        image_CDHW: Tensor,
        sample: SegmentationSample,
        *,
        share: float,
        seed: int,
        regions: bool = False,
    ) -> tuple[LabelMap, Tensor]:
        """The scores (n, K) of some voxels of a scan, at temperature 1, and where they are: the map on the scan's own
        grid has 1 at the first of them, n at the last, 0 everywhere else.

        Args:
            share: of the voxels, in 0..1.
            seed: of the draw.
            regions: as ``Ensemble``'s.

        Raises:
            ValueError: as ``segment``.
        """
        rng, drawn = np.random.default_rng(seed), []

        def read(scores: Tensor) -> tuple[np.ndarray, ...]:
            chosen = rng.random(scores.shape[1:]) < share
            first = 1 + sum(map(len, drawn))
            numbers = np.zeros(chosen.shape, np.int32)
            numbers[chosen] = np.arange(first, first + np.count_nonzero(chosen))
            drawn.append(scores[:, torch.from_numpy(chosen).to(scores.device)].T.cpu())
            return (numbers,)

        (places,) = self._on_scan(self._joined(network, regions=regions), image_CDHW, sample, read)
        return places, torch.cat(drawn)

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
        network = self._joined(network, regions=decide is not None)
        box = ((0, 0, 0), shape, tuple(shape_out or shape))
        (labels_DHW,) = self._read(network, image_CDHW, *box, lambda scores: (self._decided(scores, decide),))
        return labels_DHW

    @torch.no_grad()
    def logits(self, network: Network, image_CDHW: Tensor, *, regions: bool = False) -> Tensor:
        """The scores (K, D, H, W) of the whole image at once, of classes or of ``regions``: for small images."""
        network = self._joined(network, regions=regions)
        outer, slabs = self._slabs(network, image_CDHW, (0, 0, 0), tuple(image_CDHW.shape[1:]))
        return torch.cat([scores.clone() for scores in slabs], dim=1).movedim(1, 1 + outer)

    def _views(self, network: Network) -> list[Network]:
        """Each network of an ensemble, as it sees each mirroring."""
        return [view for member in members(network) for view in mirrored(member, self.flips)]

    def _joined(self, network: Network, *, regions: bool) -> Network:
        views = self._views(network)
        return views[0] if len(views) == 1 else Ensemble(views, regions=regions)

    def _decided(self, scores: Tensor, decide: Decide | None) -> np.ndarray:
        if decide is None:
            labels, kind = likeliest(scores), np.uint8 if len(scores) <= 256 else np.uint16
        else:
            labels, kind = decide(scores if self.temperature == 1 else scores / self.temperature), np.uint16
        return labels.cpu().numpy().astype(kind, copy=False)

    def _on_scan(
        self, network: Network, image_CDHW: Tensor, sample: SegmentationSample, read: Read, labelled: bool = False
    ) -> list[LabelMap | Volume]:
        """What is read of the scores, on the scan's own grid: integers as label maps, other numbers as volumes."""
        shape, affine = sample.grid
        if tuple(image_CDHW.shape[1:]) != tuple(shape):
            raise ValueError(
                f"case '{sample.sample_name}': its grid has {tuple(shape)} voxels but the image {image_CDHW.shape[1:]}"
            )
        way = way_back(sample.history, shape, affine)
        fitted = self.fitted(sample, len(image_CDHW) - labelled, labelled=labelled)
        arrays = fitted._read(network, image_CDHW, way.corner, way.size, way.shape, read)
        found = [(Volume if array.dtype.kind == "f" else LabelMap)(array[None], way.affine) for array in arrays]
        for transform, drawn in way.rest:
            found = [transform.undo(volume, **drawn) for volume in found]
        return found

    @torch.no_grad()
    def _read(
        self,
        network: Network,
        image_CDHW: Tensor,
        corner: tuple[int, ...],
        size: tuple[int, ...],
        shape_out: tuple[int, ...],
        read: Read,
    ) -> list[np.ndarray]:
        """What is read of the box of ``size`` at ``corner``, sampled with ``shape_out`` voxels."""
        outer, slabs = self._slabs(network, image_CDHW, corner, size)
        if shape_out != size:
            slabs = resampled(slabs, _first(size, outer), _first(shape_out, outer))
        found, done = [], 0
        for scores in slabs:
            if scores.sum().isnan():
                raise ValueError("the network answers NaN; are its weights whole, and is float16 enough for it?")
            parts = read(scores)
            found = found or [np.empty(shape_out, part.dtype) for part in parts]
            for whole, part in zip(found, parts, strict=True):
                np.moveaxis(whole, outer, 0)[done : done + len(part)] = part
            done += scores.shape[1]
        return found

    def _slabs(
        self, network: Network, image_CDHW: Tensor, corner: tuple[int, ...], size: tuple[int, ...]
    ) -> tuple[int, Iterator[Tensor]]:
        """The outer axis, and the slabs of the box of ``size`` at ``corner``."""
        if image_CDHW.ndim != 4:
            raise ValueError(f"an inferer wants one image (C, D, H, W), got shape {tuple(image_CDHW.shape)}")
        shape = tuple(image_CDHW.shape[1:])
        more = [want - have for want, have in zip(self.padded_shape(shape), shape, strict=True)]
        if any(more):
            margins = [side for count in reversed(more) for side in (count // 2, count - count // 2)]
            image_CDHW = functional.pad(image_CDHW, margins)  # with 0: what is normalised has its mean there
        outer = self.outer_axis(tuple(image_CDHW.shape[1:]))
        corner = tuple(low + count // 2 for low, count in zip(corner, more, strict=True))
        slabs = self.slabs(network, image_CDHW, outer)
        return outer, cropped(slabs, _first(corner, outer), _first(size, outer))


def _first(triple: Sequence[int], axis: int) -> tuple[int, ...]:
    """``triple`` with the entry of ``axis`` moved to the front."""
    return (triple[axis], *triple[:axis], *triple[axis + 1 :])
