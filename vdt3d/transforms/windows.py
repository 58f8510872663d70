"""CutWindow: the slices of a window out of a scan, which need not be in memory; arrays are (C, D, H, W)."""

from collections.abc import Iterable

import numpy as np

from vdt3d.structures import IGNORED, OUTSIDE, LabelMap, Sample, SliceWindow, Volume
from vdt3d.transforms.base import Grid, SpatialTransform
from vdt3d.transforms.grid import permute

AXES = {"D": (0, 1, 2), "H": (1, 0, 2), "W": (2, 0, 1)}  # the axes of a scan, that of the slices first


class CutWindow(SpatialTransform):
    """Takes the window about slice ``position``: the result has ``window.slices`` slices along D.

    Where a slice stands for one beyond the ends, the grid tells where that would be. Slices of zeros are of no label
    (``IGNORED``) in label maps. There is no way back: an inferer that feeds windows asks each slice once.

    Args:
        window: which slices.
        axis: "D", "H" or "W", the axis of the scan along which they follow; the others become H and W, in order.

    Raises:
        ValueError: another axis.
    """

    def __init__(self, window: SliceWindow, axis: str = "D"):
        if axis not in AXES:
            raise ValueError(f"axis={axis!r} is none of 'D', 'H', 'W'")
        self.window, self.axis = window, axis

    def length(self, volume: Volume) -> int:
        """How many slices, and so windows, a scan has."""
        return volume.shape["DHW".index(self.axis)]

    def at(self, sample: Sample, position: int) -> Sample:
        """The window about ``position`` of a case: image and label map, without what is known of the whole case's
        voxels one by one (``foreground``, ``reference``).
        """
        drawn = {"position": position}
        history = (*sample.history, (self, drawn))
        return self.change(sample, drawn).replace(history=history, foreground=None, reference=None)

    def apply(self, volume: Grid, position: int) -> Grid:
        axis = "DHW".index(self.axis)
        step = self.window.step(volume.spacing[axis])
        positions = self.window.positions(position, volume.shape[axis], step)
        planes = _read(volume, {place for place in positions if place != OUTSIDE}, axis, step)
        nothing = np.full_like(planes[position], IGNORED if isinstance(volume, LabelMap) else 0)
        array = np.stack([planes.get(place, nothing) for place in positions], axis=1 + axis)
        shift = np.eye(4)
        shift[axis, axis], shift[axis, 3] = step, self.window.start(position, step)
        return permute(volume.replace(array=array, affine=volume.affine @ shift), AXES[self.axis])


def _read(volume: Volume, places: Iterable[int], axis: int, step: int) -> dict[int, np.ndarray]:
    """The slices at ``places``; those that follow one another by ``step`` are read at once."""
    planes: dict[int, np.ndarray] = {}
    run: list[int] = []
    for place in [*sorted(places), None]:
        if run and (place is None or place != run[-1] + step):
            box = [slice(None)] * 4
            box[1 + axis] = slice(run[0], run[-1] + 1, step)
            planes |= zip(run, np.moveaxis(np.asarray(volume.array[tuple(box)]), 1 + axis, 0), strict=True)
            run = []
        run.append(place)
    return planes
