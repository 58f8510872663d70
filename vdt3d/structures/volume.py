"""Volume and LabelMap: an array that never travels without its geometry; axes (C, D, H, W), world axes RAS+ in mm."""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import numpy as np

IGNORED = 255  # in a label map: nobody knows what is there, and no loss and no score asks


class StoredGeometry(NamedTuple):
    """Geometry as the header of a NIfTI file stores it, in forms that programs choose from differently.

    Fields:
        affine: (4, 4), what was read of it; see ``Volume``.
        fields: of the header, by name.
    """

    affine: np.ndarray
    fields: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Volume:
    """Values on a regular grid, never changed in place: several samples may hold one volume.

    Args:
        array: (C, D, H, W); D, H, W are the scan's axes z, y, x as stored.
        affine: (4, 4), from array indices (z, y, x, 1) to millimetres (right, anterior, superior, 1): column ``k`` is
            the step along array axis ``k``. Its columns are NIfTI's in reverse order. Default: 1 mm, axis-aligned.
        stored: geometry of the NIfTI file the volume comes from; written with whatever lies on that file's grid.

    Raises:
        ValueError: the array has not four axes, or the affine is not a finite, invertible (4, 4) matrix.
    """

    array: np.ndarray
    affine: np.ndarray = field(default_factory=lambda: affine_from_spacing((1.0, 1.0, 1.0)))
    stored: StoredGeometry | None = field(default=None, repr=False)

    def __post_init__(self):
        if self.array.ndim != 4:
            raise ValueError(f"{type(self).__name__} wants an array (C, D, H, W), got shape {tuple(self.array.shape)}")
        affine = np.asarray(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise ValueError(f"the affine must be a finite, invertible 4 x 4 matrix, got {affine.tolist()}")
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (D, H, W)."""
        return tuple(self.array.shape[1:])

    @property
    def channels(self) -> int:
        return self.array.shape[0]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between neighbouring voxels along (z, y, x)."""
        return tuple(np.linalg.norm(self.affine[:3, :3], axis=0).tolist())

    def replace(self, **changes) -> Self:
        """A copy with another array or affine."""
        return replace(self, **changes)

    def on_grid_of(self, other: "Volume") -> Self:
        """Return a copy with the geometry of ``other``, which has the same shape."""
        return self.replace(affine=other.affine, stored=other.stored)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself, since nothing changes it: mmengine copies all that a sample knows whenever it moves one."""
        return self

    def same_grid(self, other: "Volume", tolerance: float = 1e-3) -> bool:
        """Whether both lie on one grid: equal shape, and every corner within ``tolerance`` voxels of the other's."""
        if self.shape != other.shape or np.array_equal(self.affine, other.affine):
            return self.shape == other.shape
        return corner_distance(self.affine, other.affine, self.shape) <= tolerance * min(self.spacing)


class LabelMap(Volume):
    """Integer labels on a grid; intensity transforms are never handed one.

    Raises:
        ValueError: the array is not of integers (or booleans).
    """

    def __post_init__(self):
        super().__post_init__()
        kind = np.dtype(str(self.array.dtype).removeprefix("torch.")).kind
        if kind not in "iub":
            raise ValueError(f"a LabelMap holds integers, got {self.array.dtype}")


def corner_distance(one: np.ndarray, other: np.ndarray, shape: tuple[int, int, int]) -> float:
    """Return the largest distance between the places that two affines (4, 4) give a corner of an array of ``shape``."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], [1], indexing="ij")).reshape(4, -1)
    return float(np.linalg.norm((one - other) @ corners, axis=0).max())


def affine_from_spacing(spacing: tuple[float, float, float]) -> np.ndarray:
    """The axis-aligned affine of a grid with ``spacing`` (z, y, x) in mm and its first voxel at the origin.

    Raises:
        ValueError: the spacing is not three positive numbers.
    """
    if np.shape(spacing) != (3,) or not all(0 < step < np.inf for step in spacing):
        raise ValueError(f"a spacing is three positive numbers (z, y, x) in mm, got {spacing}")
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = spacing  # z goes up (S), y forward (A), x to the right (R)
    affine[3, 3] = 1
    return affine
