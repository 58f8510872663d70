"""Sample: one case on its way from the files to the batch; between loading and packing no dict of string keys."""

from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from vdt3d.structures.boxes import Boxes
from vdt3d.structures.grids import describe_grids
from vdt3d.structures.volume import LabelMap, Volume


@dataclass(frozen=True, eq=False)
class Sample:
    """One case.

    Args:
        image: what the network is fed.
        label_map: the truth per voxel, on the image's grid.
        target: the truth per case (class index).
        boxes: where objects are, on the image's grid.
        reference: the truth on the scan's own grid, which no transform touches: scores are counted there.
        foreground: voxels (n, 3) on the image's grid before any transform, by the label they bear; a choice of all.
        statistics: of the whole case per channel, by name ("mean", "std", "percentile_00_5", ...), where the image is
            read in part and cannot tell them.
        group: the patient (by a neutral id) where several cases share one; intervals resample whole groups.
        name: how messages, tables and pictures call the case (never a patient's name).
        history: the transforms applied so far with what they drew, oldest first; undoing walks it backwards.

    Raises:
        ValueError: the label map does not lie on the image's grid.
    """

    image: Volume
    label_map: LabelMap | None = None
    target: int | None = None
    boxes: Boxes | None = None
    reference: LabelMap | Boxes | None = None
    foreground: dict[int, np.ndarray] | None = field(default=None, repr=False)
    statistics: dict[str, tuple[float, ...]] | None = field(default=None, repr=False)
    group: str = ""
    name: str = ""
    history: tuple[tuple[Any, dict], ...] = field(default=(), repr=False)

    def __post_init__(self):
        if self.label_map is not None and not self.image.same_grid(self.label_map):
            ours, theirs = describe_grids(self.label_map, self.image)
            raise ValueError(
                f"case '{self.name}': the label map, {ours}, does not lie on the grid of its image, {theirs}"
            )

    def replace(self, **changes) -> Self:
        """A copy with some fields changed."""
        return replace(self, **changes)
