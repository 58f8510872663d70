"""A detector of key slices led through a whole scan: the window about each key slice, a batch at a time."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from vdt3d.structures import Boxes, DetectionSample, Sample, SpacedWindow, Volume
from vdt3d.transforms import CutWindow, Reorient3D
from vdt3d.transforms.grid import flip


class Swept(NamedTuple):
    """Boxes of all key slices, as ``join_slices`` takes them.

    Fields:
        boxes: on a grid that runs from head to feet, along D as thick as what their key slice stands for: ``step``
            slices about it, as far as there are some.
        scores: (N,).
        slices: (N,) int, position along D of the key slice of each.
        step: slices from one key slice to the next.
    """

    boxes: Boxes
    scores: np.ndarray
    slices: np.ndarray
    step: int


def sweep(
    detect: Callable[[Sequence[dict[str, Any]]], Sequence[DetectionSample]],
    sample: Sample,
    window: SpacedWindow,
    prepare: Callable[[Sample], dict[str, Any]],
    *,
    every: float | None = None,
    batch: int = 4,
) -> Swept:
    """Ask about key slices from end to end of a scan. Beside it, a batch of windows is in memory.

    The scan is turned the way the slices of ``LesionScans`` lie, whatever its own: D runs from head to feet, H from
    front to back, W to the patient's left.

    Args:
        detect: from packed windows to their samples, which have gained ``pred_boxes`` and ``pred_scores``.
        sample: the scan.
        window: the one the detector was trained with.
        prepare: the test pipeline, from a window to what is packed of it.
        every: mm from one key slice to the next, at most, but each slice at least. Default: the window's spacing.
        batch: how many windows go through the network together.

    Raises:
        ValueError: a distance or batch that is not positive; what ``prepare`` gives is not PackDetection's.
    """
    every = window.spacing if every is None else every
    if not 0 < every < np.inf or batch < 1:
        raise ValueError(f"every={every}, batch={batch}: a positive length in mm, and a number from 1")
    sample = as_shown(sample)
    depth, interval = sample.image.shape[0], sample.image.spacing[0]
    step = max(1, int(every / interval + 1e-6))  # what was meant to divide may have lost a digit
    cut = CutWindow(window)
    keys = range(min((step - 1) // 2, depth - 1), depth, step)
    found = []
    for first in range(0, len(keys), batch):
        some = keys[first : first + batch]
        packed = [prepare(cut.at(sample, key)) for key in some]
        if not all(isinstance(each, dict) and isinstance(each.get("data_samples"), DetectionSample) for each in packed):
            raise ValueError("the test pipeline of the config does not end in PackDetection: it finds no boxes")
        for key, answer in zip(some, detect(packed), strict=True):
            boxes = answer.pred_boxes.on(sample.image.affine)
            corners, slices = boxes.corners.copy(), np.full(len(boxes), key)
            corners[:, [0, 3]] = np.clip([key + 0.5 - step / 2, key + 0.5 + step / 2], 0, depth)
            found.append((corners, boxes.labels, answer.pred_scores, slices))
    corners, labels, scores, slices = map(np.concatenate, zip(*found, strict=True))
    return Swept(Boxes(corners, labels, affine=sample.image.affine), scores, slices, step)


def as_shown(sample: Sample) -> Sample:
    """A scan the way radiologists look at slices; its voxels are not copied."""
    image: Volume = Reorient3D()(sample).image
    return sample.replace(image=flip(image, (0, 1, 2)), label_map=None, boxes=None, reference=None)
