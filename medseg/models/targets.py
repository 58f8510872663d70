"""How the labels of a data set become what a network learns, and what it says becomes labels again."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from vdt3d.structures import IGNORED, SegmentationSample

MOST_REGIONS = 20  # there is an answer in a table for every combination of them
Thresholds = float | Mapping[str, float]


class LabelScheme:
    """The labels 0 (background) to ``num_classes - 1``, how they are merged, and the regions they make up.

    Without ``regions`` the classes exclude one another: one score per class, softmax, the largest wins. With
    ``regions`` the network gives one score per region and each voxel may lie in several (sigmoid). The regions whose
    score is above 0 (probability 0.5, or another of ``thresholds``) make the answer: the label that lies in all of
    these and in no other, where there is exactly one such; else the own label of the last of them, the one that it
    holds and no later region does. Hence the outer region stands before the inner one:
    ``dict(liver=(1, 2), tumour=(2,))`` answers 2 for the tumour, even where nobody saw the liver. Regions that overlap
    in labels of their own, ``dict(a=(1, 3), b=(2, 3))``, are answered by these, in any order.

    Args:
        num_classes: how many labels there are after ``label_map``, background included.
        label_map: old label to new; a new label of 255 leaves its voxels out. Labels it does not name stay.
        regions: name to labels, after ``label_map``.

    Raises:
        ValueError: a label outside the classes, too many regions, or some that may be on together without an answer.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        label_map: Mapping[int, int] | None = None,
        regions: Mapping[str, Sequence[int]] | None = None,
    ):
        if not 2 <= num_classes <= IGNORED:
            raise ValueError(f"num_classes={num_classes} counts the background too and must be 2 to {IGNORED}")
        self.num_classes = num_classes
        self.regions = {name: tuple(labels) for name, labels in (regions or {}).items()}
        table = torch.full((IGNORED + 1,), -1, dtype=torch.int16)  # old label to new, -1 where there is none
        table[:num_classes] = torch.arange(num_classes)
        table[IGNORED] = IGNORED
        for old, new in (label_map or {}).items():
            if not (0 <= int(old) <= IGNORED and (0 <= new < num_classes or new == IGNORED)):
                raise ValueError(f"label_map: {old} -> {new} leaves the labels 0..{num_classes - 1} and {IGNORED}")
            table[int(old)] = new
        self.table = table
        self.painted = self._own_labels()
        self.answers = self._answers()

    @property
    def channels(self) -> int:
        """Scores per voxel."""
        return len(self.regions) or self.num_classes

    def targets(self, samples: Sequence[SegmentationSample], size: Sequence[int]) -> Tensor:
        """The truth of a batch, uint8: labels (B, D, H, W), or with regions 0 and 1 (B, R, D, H, W); 255 is left out.

        Args:
            samples: each with ``gt_labels`` (D, H, W).
            size: (D, H, W) of the network's input.

        Raises:
            ValueError: a case without labels, of another shape than its image, or with a label outside the classes.
        """
        labels = torch.stack([self._renamed(sample, tuple(size)) for sample in samples])
        if not self.regions:
            return labels
        inside = torch.zeros(len(self.regions), IGNORED + 1, dtype=torch.uint8, device=labels.device)
        for row, members in zip(inside, self.regions.values(), strict=True):
            row[list(members)] = 1
            row[IGNORED] = IGNORED
        index = labels.long()
        return torch.stack([row[index] for row in inside], dim=1)

    def paint(self, scores: Tensor, thresholds: Thresholds = 0.5) -> Tensor:
        """Labels (...), uint8, from the scores (R, ...) of the regions, which are logits.

        Args:
            thresholds: a region is on where its probability is above this: one number, or one by the region's name;
                a region without stays at 0.5.

        Raises:
            ValueError: see ``decision``.
        """
        on = torch.zeros(scores.shape[1:], dtype=torch.int32, device=scores.device)
        for bit, (score, cutoff) in enumerate(zip(scores, self._cutoffs(thresholds), strict=True)):
            on.add_(score > cutoff, alpha=1 << bit)
        return self.answers.to(scores.device).index_select(0, on.flatten()).view(on.shape)

    def decision(self, thresholds: Thresholds | None = None) -> Callable[[Tensor], Tensor] | None:
        """What an inferer wants as ``decide``: ``paint`` at these thresholds; None without regions, where the largest
        score wins.

        Raises:
            ValueError: a threshold that is no probability between 0 and 1, of an unknown region, or without regions.
        """
        if thresholds is None:
            return self.paint if self.regions else None
        self._cutoffs(thresholds)
        return partial(self.paint, thresholds=thresholds)

    def _cutoffs(self, thresholds: Thresholds) -> list[float]:
        """Of each region the logit its score must exceed."""
        if not self.regions:
            raise ValueError("thresholds are for regions; of classes the largest score wins: leave thresholds out")
        named = thresholds if isinstance(thresholds, Mapping) else dict.fromkeys(self.regions, thresholds)
        if unknown := sorted(named.keys() - self.regions.keys()):
            raise ValueError(f"thresholds for {', '.join(unknown)}; the regions are {', '.join(self.regions)}")
        for name, value in named.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
                raise ValueError(f"the threshold {value!r} of region '{name}' is no probability between 0 and 1")
        return [math.log(value / (1 - value)) for value in (named.get(name, 0.5) for name in self.regions)]

    def _renamed(self, sample: SegmentationSample, size: tuple[int, ...]) -> Tensor:
        name, labels = sample.get("sample_name", ""), sample.get("gt_labels")
        if labels is None:
            raise ValueError(f"case '{name}' has no labels (gt_labels) to learn from; give its data set a label map")
        if tuple(labels.shape) != size:
            raise ValueError(f"case '{name}': labels of shape {tuple(labels.shape)} for an image of {size} voxels")
        if labels.dtype != torch.uint8 and (labels.min() < 0 or labels.max() > IGNORED):
            raise self._unknown(name, labels[(labels < 0) | (labels > IGNORED)])
        renamed = self.table.to(labels.device)[labels.long()]
        if (renamed < 0).any():
            raise self._unknown(name, labels[renamed < 0])
        return renamed.to(torch.uint8)

    def _unknown(self, name: str, values: Tensor) -> ValueError:
        return ValueError(
            f"case '{name}': {values.numel()} voxels have labels outside 0..{self.num_classes - 1}: "
            f"{', '.join(map(str, values.unique().tolist()[:10]))}; correct num_classes, merge them with label_map, or "
            f"leave them out by mapping them to {IGNORED}"
        )

    def _own_labels(self) -> list[int | None]:
        """Of each region the one label that it and no later region holds; None where there is none or several."""
        own, later = [], set()
        for name, labels in reversed(self.regions.items()):
            outside = [label for label in labels if not 0 < label < self.num_classes]
            if outside:
                raise ValueError(f"region '{name}' holds {outside}, not among the labels 1..{self.num_classes - 1}")
            alone = set(labels) - later
            own.append(alone.pop() if len(alone) == 1 else None)
            later |= set(labels)
        return own[::-1]

    def _answers(self) -> Tensor:
        """The label (2 ** R,), uint8, of every combination of regions; the first region's bit is 1, the next one's 2.

        Where every region has an own label, no two labels lie in the same regions, and each is the own label of the
        last that it lies in: both rules agree.
        """
        names = list(self.regions)
        if len(names) > MOST_REGIONS:
            raise ValueError(f"{len(names)} regions: a network answers {MOST_REGIONS} at most; merge some of them")
        answers = np.full(1 << len(names), -1, np.int16)
        answers[0] = 0
        for bit, label in enumerate(self.painted):  # the last region that is on has the highest bit
            if label is not None:
                answers[1 << bit : 2 << bit] = label
        lies_in = {
            label: sum(1 << bit for bit, name in enumerate(names) if label in self.regions[name])
            for label in range(1, self.num_classes)
        }
        together = Counter(lies_in.values())
        for label, regions in lies_in.items():
            if regions and together[regions] == 1:
                answers[regions] = label
        if (answers < 0).any():
            raise self._unanswered(int((answers < 0).argmax()))
        return torch.from_numpy(answers.astype(np.uint8))

    def _unanswered(self, combination: int) -> ValueError:
        names = list(self.regions)
        on, last = [name for bit, name in enumerate(names) if combination >> bit & 1], combination.bit_length() - 1
        later = {label for name in names[last + 1 :] for label in self.regions[name]}
        own = sorted(set(self.regions[names[last]]) - later)
        return ValueError(
            f"region '{names[last]}' must hold exactly one label that no later region holds, to answer where "
            f"{' and '.join(on)} and nothing else is seen, which is no one label either; it holds {own or 'none'}: put "
            "outer regions before inner ones, merge labels with label_map, or give every overlap a label of its own"
        )


def shrink_targets(targets: Tensor, size: Sequence[int]) -> Tensor:
    """``targets`` (..., D, H, W) at a coarser ``size``: of each new voxel, the label at its centre."""
    for axis, count in zip((-3, -2, -1), size, strict=True):
        if targets.shape[axis] != count:
            centres = (torch.arange(count, device=targets.device) + 0.5) * (targets.shape[axis] / count)
            targets = targets.index_select(axis, centres.long())
    return targets
