"""Findings: what a detector of slices found in a scan, joined across slices; boxes are (d, h, w, d, h, w) in voxels."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from vdt3d.structures import Boxes, Volume, affine_from_spacing, box_overlap, box_size
from vdt3d.utils.notice import NOTICE

SHARE = 0.5  # of the smaller of two boxes that go on in one another; in equal ones, a third of their union
SAME = 0.3  # intersection over union from which on two findings are one
REACH = 2  # key slices to the next box of a finding, at most: one in which it was missed is bridged
HALF = 0.5  # of a finding's score: it reaches as far as boxes score so much, its extent at half maximum
AXES = (
    "d, h, w: axes of the scan as stored, from the slowest to the fastest (k, j, i of NIfTI; slice, row, column of "
    "DICOM), in voxels, of which the first reaches from 0 to 1. x, y, z: millimetres to the patient's right, front and "
    "head (RAS+, NIfTI's world; DICOM's x and y have the other sign)."
)
MILLIMETRES = affine_from_spacing((1.0, 1.0, 1.0))
LAID_OUT = {  # in the table, from which entry of a finding each group of columns is taken
    "box_voxels_dhw": ("d1", "h1", "w1", "d2", "h2", "w2"),
    "box_mm_xyz": ("x1_mm", "y1_mm", "z1_mm", "x2_mm", "y2_mm", "z2_mm"),
    "centre_mm_xyz": ("x_mm", "y_mm", "z_mm"),
    "size_mm_dhw": ("size_d_mm", "size_h_mm", "size_w_mm"),
}
COLUMNS = ("scan", "rank", "label", "score", "slice", *(name for names in LAID_OUT.values() for name in names))


class Findings(NamedTuple):
    """What was found, the surest first.

    Fields:
        boxes: on some grid of the scan.
        scores: (N,), each that of the best slice.
        slices: (N,) int, the positions of these slices.
        axis: 0, 1 or 2 for D, H, W: along which axis of the grid slices follow.
    """

    boxes: Boxes
    scores: np.ndarray
    slices: np.ndarray
    axis: int = 0

    def on(self, affine: np.ndarray) -> Self:
        """The same on another grid, whose axes are parallel to this one's."""
        to_other = np.linalg.inv(affine) @ self.boxes.affine
        axis = int(np.abs(to_other[:3, self.axis]).argmax())
        slices = np.rint(to_other[axis, self.axis] * self.slices + to_other[axis, 3]).astype(int)
        return type(self)(self.boxes.on(affine), self.scores, slices, axis)


def join_slices(
    boxes: Boxes,
    scores: np.ndarray,
    slices: np.ndarray,
    step: int = 1,
    *,
    top: int | None = None,
) -> Findings:
    """Join the boxes of key slices to findings in 3D; each box becomes part of one finding at most.

    The best box there is left starts a finding. From there, up and down, it goes on in the next key slice in the box
    most like the last one (by intersection over union), of those left that share half the area of the smaller of both
    with it and have at least half the best one's score; where there is none, in the key slice after that. Then the same
    with what is left. A finding that overlaps a better one of its label in 3D (intersection over union 0.3) is the same
    thing found again, and is left out.

    Half of the smaller, because where a lesion ends its boxes shrink faster than a bound on the union would follow.
    Half the score, because a detector that holds back nothing has something to say behind a lesion's end as well.
    Height and width are those of the best slice, not the mean of all weighted by scores, as weighted boxes fusion has
    it for several answers about one picture (Solovyev et al. 2021): the slices of a lesion differ in truth, and their
    mean is too small, by a fifth for a ball (pi / 4).

    Args:
        boxes: of all key slices, each as thick as what its slice stands for.
        scores: (N,), 0 or more.
        slices: (N,) int, position along D of the key slice of each; the order is free.
        step: slices from one key slice to the next.
        top: how many findings are wanted. Default: all.

    Returns:
        Findings on the grid of ``boxes``. Of equal scores the larger box comes first, then the lower slice.

    Raises:
        ValueError: there are not as many boxes, scores and slices; a step or number of findings below 1.
    """
    scores, slices = np.asarray(scores, float), np.asarray(slices, int)
    if not len(boxes) == len(scores) == len(slices):
        raise ValueError(f"{len(boxes)} boxes have {len(scores)} scores and {len(slices)} slices")
    if step < 1 or (top is not None and top < 1):
        raise ValueError(f"step={step}, top={top}: both are 1 or more")
    corners, labels, keys = boxes.corners, boxes.labels, slices // step
    planes = corners[:, [1, 2, 4, 5]]
    order = np.lexsort((slices, -box_size(planes), -scores))
    rank = np.empty(len(order), int)
    rank[order] = np.arange(len(order))
    in_key = {key: np.flatnonzero(keys == key) for key in np.unique(keys).tolist()}
    free = np.ones(len(order), bool)

    def following(last: int, way: int, least: float) -> int | None:
        """The box that goes on from ``last``, up or down, with a score of ``least``."""
        for key in (keys[last] + way * far for far in range(1, REACH + 1)):
            near = in_key.get(int(key), order[:0])
            near = near[free[near] & (labels[near] == labels[last]) & (scores[near] >= least)]
            near = near[box_overlap(planes[near], planes[last], "iom") >= SHARE]
            if len(near):
                return near[np.lexsort((rank[near], -box_overlap(planes[near], planes[last])))[0]]
        return None

    best: list[int] = []
    found = np.empty_like(corners)
    for first in order:
        if len(best) == top:
            break
        if not free[first]:
            continue
        free[first] = False
        box = corners[first].copy()
        for way in (-1, 1):
            last = first
            while (last := following(last, way, HALF * scores[first])) is not None:
                free[last] = False
                box[0], box[3] = min(box[0], corners[last, 0]), max(box[3], corners[last, 3])
        alike = box_overlap(found[: len(best)], box)
        if not ((alike >= SAME) & (labels[best] == labels[first])).any():
            found[len(best)] = box
            best.append(first)
    which = np.array(best, int)
    return Findings(boxes.chosen(which).replace(corners=found[: len(best)]), scores[which], slices[which])


def scan_report(findings: Findings, volume: Volume, *, name: str, classes: Sequence[str] = ()) -> dict[str, Any]:
    """What a file tells of the findings of one scan; ``AXES`` is in it.

    Args:
        findings: on the grid of ``volume``.
        name: how the case is called (never a patient's name).
        classes: names of the labels 0, 1, ...
    """
    boxes = findings.boxes
    # In the grid of millimetres 0 mm is the middle of the voxel that reaches from 0 to 1; its axes are (z, y, x).
    world = boxes.on(MILLIMETRES).corners - 0.5
    world = world[:, [2, 1, 0, 5, 4, 3]]
    sizes = (boxes.corners[:, 3:] - boxes.corners[:, :3]) * volume.spacing
    entries = [
        {
            "rank": number + 1,
            "label": classes[label] if label < len(classes) else str(label),
            "score": float(findings.scores[number]),
            "slice": int(findings.slices[number]),
            "box_voxels_dhw": _rounded(boxes.corners[number], 2),
            "box_mm_xyz": _rounded(world[number], 2),
            "centre_mm_xyz": _rounded((world[number, :3] + world[number, 3:]) / 2, 2),
            "size_mm_dhw": _rounded(sizes[number], 2),
        }
        for number, label in enumerate(boxes.labels.tolist())
    ]
    return {
        "scan": name,
        "note": NOTICE,
        "axes": AXES,
        "shape_dhw": list(volume.shape),
        "spacing_mm_dhw": _rounded(volume.spacing, 4),
        "slices_along": "dhw"[findings.axis],
        "findings": entries,
    }


def table_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The findings of one scan as rows of a table with ``COLUMNS``."""
    return [
        {"scan": report["scan"]}
        | {column: finding[column] for column in ("rank", "label", "score", "slice")}
        | {name: value for key, names in LAID_OUT.items() for name, value in zip(names, finding[key], strict=True)}
        for finding in report["findings"]
    ]


def _rounded(numbers: Sequence[float], digits: int) -> list[float]:
    return [round(float(number), digits) + 0.0 for number in numbers]  # -0.0 becomes 0.0
