"""Sample: one case on its way from the files to the batch; between loading and packing no dict of string keys."""

from dataclasses import dataclass, field, replace
from typing import Any, Self

from vdt3d.structures.volume import LabelMap, Volume


@dataclass(frozen=True, eq=False)
class Sample:
    """One case.

    Args:
        image: what the network is fed.
        label_map: the truth per voxel, on the image's grid.
        target: the truth per case (class index).
        group: the patient (by a neutral id) where several cases share one; intervals resample whole groups.
        name: how messages, tables and pictures call the case (never a patient's name).
        history: the transforms applied so far with what they drew, oldest first; undoing walks it backwards.

    Raises:
        ValueError: the label map does not lie on the image's grid.
    """

    image: Volume
    label_map: LabelMap | None = None
    target: int | None = None
    group: str = ""
    name: str = ""
    history: tuple[tuple[Any, dict], ...] = field(default=(), repr=False)

    def __post_init__(self):
        if self.label_map is not None and not self.image.same_grid(self.label_map):
            raise ValueError(
                f"case '{self.name}': the label map {self.label_map.shape} at {self.label_map.spacing} mm does not lie "
                f"on the grid of its image {self.image.shape} at {self.image.spacing} mm"
            )

    def replace(self, **changes) -> Self:
        """A copy with some fields changed."""
        return replace(self, **changes)
