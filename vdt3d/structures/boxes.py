"""Boxes: where objects lie on a grid, carried along by whatever moves the grid; axes (D, H, W)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import Literal, Self, get_args

import numpy as np

from vdt3d.structures.volume import affine_from_spacing

Overlap = Literal["iou", "iobb", "iom", "iou_plus_1", "centre"]


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes along the axes of a grid, in voxels: voxel i reaches from i to i + 1, a whole scan is (0, 0, 0, D, H, W).

    Args:
        corners: (N, 6) float, the lower (d, h, w) and the upper (d, h, w) corner of each.
        labels: (N,) int, what each is; 0 where there is one kind. Default: zeros.
        affine: (4, 4) of the grid, as ``Volume``'s: from indices, which are the middles of voxels, to millimetres.
        facts: what else is known of each, (N,) by name, such as "type" or "diameter_mm": scores are told by it.

    Raises:
        ValueError: another shape, numbers that are not finite, or a lower corner above the upper one.
    """

    corners: np.ndarray
    labels: np.ndarray | None = None
    affine: np.ndarray = field(default_factory=lambda: affine_from_spacing((1.0, 1.0, 1.0)))
    facts: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        corners = np.asarray(self.corners, dtype=np.float64).reshape(-1, 6)
        labels = np.zeros(len(corners), int) if self.labels is None else np.asarray(self.labels)
        for name, values in {"labels": labels, **self.facts}.items():
            if len(values) != len(corners):
                raise ValueError(f"{len(corners)} boxes have {len(values)} {name}")
        if not np.isfinite(corners).all() or (corners[:, :3] > corners[:, 3:]).any():
            raise ValueError(f"boxes are lower and upper corners (d, h, w, d, h, w), got {corners.tolist()}")
        for name, value in (("corners", corners), ("labels", labels)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.corners)

    def replace(self, **changes) -> Self:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def on(self, affine: np.ndarray) -> Self:
        """The same boxes in the voxels of another grid; where its axes are not parallel, the boxes around them."""
        to_other = np.linalg.inv(affine) @ self.affine
        low, high = self.corners[:, :3] - 0.5, self.corners[:, 3:] - 0.5  # as indices
        ends = np.stack([np.where(upper, high, low) for upper in product((False, True), repeat=3)])  # (8, N, 3)
        ends = ends @ to_other[:3, :3].T + to_other[:3, 3] + 0.5
        return self.replace(corners=np.concatenate([ends.min(0), ends.max(0)], axis=1), affine=affine)

    def chosen(self, which: np.ndarray) -> Self:
        """Those at the indices, or where the mask is true."""
        facts = {name: np.asarray(values)[which] for name, values in self.facts.items()}
        return self.replace(corners=self.corners[which], labels=self.labels[which], facts=facts)

    def inside(self, shape: tuple[int, int, int], least: float = 1.0) -> Self:
        """What of the boxes lies in a grid of ``shape``; those are left out whose height or width is below ``least``.

        Along D any part will do: a box of one slice may be cut to a fraction of it and is still there.
        """
        corners = np.clip(self.corners, 0, np.array([*shape, *shape], float))
        sides = corners[:, 3:] - corners[:, :3]
        return self.replace(corners=corners).chosen((sides[:, 0] > 0) & (sides[:, 1:] >= least).all(axis=1))

    def __deepcopy__(self, memo: dict) -> Self:
        """Itself, as ``Volume``: nothing changes it, and mmengine copies all that a sample knows."""
        return self


def box_overlap(boxes: np.ndarray, others: np.ndarray, kind: Overlap = "iou") -> np.ndarray:
    """How much boxes overlap others: (..., 2k) and (..., 2k) to (...); ``boxes[:, None]`` gives every pair.

    ``iou`` is the intersection over the union (Jaccard 1901), ``iobb`` the intersection over ``boxes``, the predicted
    ones (Yan et al. 2018): 1 for any box within a larger other one; ``iom`` that over the smaller of both. 0 where the
    divisor is 0. ``iou_plus_1`` takes upper corners as the last voxel within a box, so that every side is 1 longer, as
    the code published with DeepLesion does (CADLab). ``centre`` is 1 where the centre of a box lies in the ellipsoid
    that fits the other box, else 0: closer to the centre of a round nodule than its radius, as LUNA16 counts hits.

    Raises:
        ValueError: another kind.
    """
    axes = boxes.shape[-1] // 2
    if kind == "centre":
        return _centre_within(boxes, others)
    if kind == "iou_plus_1":
        longer = np.repeat([0, 1], axes)
        return box_overlap(boxes + longer, others + longer, "iou")
    shared = (  # axis by axis: a product along an axis of two takes several times as long
        np.minimum(boxes[..., axes + a], others[..., axes + a]) - np.maximum(boxes[..., a], others[..., a])
        for a in range(axes)
    )
    both, size = prod(np.maximum(side, 0) for side in shared), box_size(boxes)
    if kind == "iou":
        whole = size + box_size(others) - both
    elif kind == "iobb":
        whole = size
    elif kind == "iom":
        whole = np.minimum(size, box_size(others))
    else:
        raise ValueError(f"overlap={kind!r} is unknown; choose one of {get_args(Overlap)}")
    return np.divide(both, whole, out=np.zeros_like(both), where=whole > 0)


def _centre_within(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return 1.0 where the centre of a box lies in the ellipsoid that fits the other box, else 0.0."""
    axes = boxes.shape[-1] // 2
    apart = (boxes[..., :axes] + boxes[..., axes:] - others[..., :axes] - others[..., axes:]) / 2
    radius = (others[..., axes:] - others[..., :axes]) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return (((apart / radius) ** 2).sum(-1) < 1).astype(float)


def box_size(boxes: np.ndarray) -> np.ndarray:
    """(..., 2k) to (...): area or volume."""
    axes = boxes.shape[-1] // 2
    return prod(boxes[..., axes + a] - boxes[..., a] for a in range(axes))
