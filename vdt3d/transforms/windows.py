"""CutWindow: the slices of a window, or mixes of them, out of a scan, which need not be in memory; (C, D, H, W)."""

from collections.abc import Iterable, Mapping

import numpy as np

from vdt3d.structures import IGNORED, OUTSIDE, LabelMap, Sample, SliceWindow, Source, SpacedWindow, Volume
from vdt3d.transforms.base import Grid, SpatialTransform
from vdt3d.transforms.grid import permute

AXES = {"D": (0, 1, 2), "H": (1, 0, 2), "W": (2, 0, 1)}  # the axes of a scan, that of the slices first


class CutWindow(SpatialTransform):
    """Takes the window about slice ``position``: the result has ``window.slices`` slices along D.

    Where a slice stands for one beyond the ends, the grid tells where that would be. Slices of zeros are of no label
    (``IGNORED``) in label maps. There is no way back: an inferer that feeds windows asks each slice once.

    A ``SpacedWindow`` is mixed from the slices it lies between: images as float32, labels those of the nearer slice.

    Args:
        window: which slices.
        axis: "D", "H" or "W", the axis of the scan along which they follow; the others become H and W, in order.

    Raises:
        ValueError: another axis.
    """

    def __init__(self, window: SliceWindow | SpacedWindow, axis: str = "D"):
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
        cut = self._mixed if isinstance(self.window, SpacedWindow) else self._taken
        array = np.stack(cut(volume, position, axis, step), axis=1 + axis)
        affine = window_affine(volume.affine, self.window, position, step, axis)
        return permute(volume.replace(array=array, affine=affine), AXES[self.axis])

    def _taken(self, volume: Volume, position: int, axis: int, step: int) -> list[np.ndarray]:
        """Slices as they are."""
        positions = self.window.positions(position, volume.shape[axis], step)
        planes = _read(volume, {place for place in positions if place != OUTSIDE}, axis, step)
        nothing = np.full_like(planes[position], IGNORED if isinstance(volume, LabelMap) else 0)
        return [planes.get(place, nothing) for place in positions]

    def _mixed(self, volume: Volume, position: int, axis: int, step: float) -> list[np.ndarray]:
        """Slices between slices."""
        sources = self.window.sources(position, step, range(volume.shape[axis]))
        planes = _read(volume, {place for source in sources for place in source[:2]}, axis, 1)
        if isinstance(volume, LabelMap):
            return [planes[high if share >= 0.5 else low] for low, high, share in sources]
        return mixed(planes, sources)


def mixed(planes: Mapping[int, np.ndarray], sources: Iterable[Source]) -> list[np.ndarray]:
    """The slices of a ``SpacedWindow``, float32, from those of the scan by their positions."""
    found = []
    for low, high, share in sources:
        plane = planes[low].astype(np.float32)
        if share:
            plane += np.float32(share) * (planes[high] - plane)
        found.append(plane)
    return found


def window_affine(
    affine: np.ndarray, window: SliceWindow | SpacedWindow, position: int, step: float, axis: int = 0
) -> np.ndarray:
    """Of the window about slice ``position`` of a scan with ``affine`` whose slices follow along ``axis``."""
    shift = np.eye(4)
    shift[axis, axis], shift[axis, 3] = step, window.start(position, step)
    return affine @ shift


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
