"""How the labels of a data set become what a network learns, and what it says becomes labels again."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from vdt3d.structures import IGNORED, SegmentationSample


class LabelScheme:
    """The labels 0 (background) to ``num_classes - 1``, how they are merged, and the regions they make up.

    Without ``regions`` the classes exclude one another: one score per class, softmax, the largest wins. With
    ``regions`` the network gives one score per region, each voxel may lie in several (sigmoid), and the answer is
    painted: region after region in the given order, wherever its score is above 0 (probability 0.5), with the one
    label that the region holds and no later region does. Hence the outer region stands before the inner one:
    ``dict(liver=(1, 2), tumour=(2,))`` paints 1, then 2.

    Args:
        num_classes: how many labels there are after ``label_map``, background included.
        label_map: old label to new; a new label of 255 leaves its voxels out. Labels it does not name stay.
        regions: name to labels, after ``label_map``.

    Raises:
        ValueError: a label outside the classes, or a region that has none or several labels to be painted with.
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
        self.painted = [self._own_label(name) for name in self.regions]

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

    def paint(self, scores: Tensor) -> Tensor:
        """Labels (...), uint8, from the scores (R, ...) of the regions, which are logits: 0 is a probability of 0.5."""
        labels = torch.zeros(scores.shape[1:], dtype=torch.uint8, device=scores.device)
        for score, label in zip(scores, self.painted, strict=True):
            labels.masked_fill_(score > 0, label)
        return labels

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

    def _own_label(self, name: str) -> int:
        outside = [label for label in self.regions[name] if not 0 < label < self.num_classes]
        if outside:
            raise ValueError(f"region '{name}' holds {outside}, not among the labels 1..{self.num_classes - 1}")
        order = list(self.regions)
        later = {label for other in order[order.index(name) + 1 :] for label in self.regions[other]}
        own = set(self.regions[name]) - later
        if len(own) != 1:
            raise ValueError(
                f"region '{name}' must hold exactly one label that no later region holds, to be painted with; it holds "
                f"{sorted(own) or 'none'}: put outer regions before inner ones, or merge labels with label_map"
            )
        return own.pop()


def shrink_targets(targets: Tensor, size: Sequence[int]) -> Tensor:
    """``targets`` (..., D, H, W) at a coarser ``size``: of each new voxel, the label at its centre."""
    for axis, count in zip((-3, -2, -1), size, strict=True):
        if targets.shape[axis] != count:
            centres = (torch.arange(count, device=targets.device) + 0.5) * (targets.shape[axis] / count)
            targets = targets.index_select(axis, centres.long())
    return targets
