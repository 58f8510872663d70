"""Patches for training: where they lie is drawn, with the labels in mind; only the patch is read from a file."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from vdt3d.registry import TRANSFORMS
from vdt3d.structures import IGNORED, Sample
from vdt3d.transforms.base import SpatialTransform, probability, settled, sides, triple
from vdt3d.transforms.crops import Cut

UNLABELLED = (0, IGNORED)


@TRANSFORMS.register_module()
class RandomPatch3D(Cut):
    """Cut a patch of ``size`` voxels; with chance ``foreground`` it holds a voxel of a label drawn from those present.

    All labels but 0 and 255 are equally likely, however small the object; then all voxels of the label, and all places
    of the patch that hold the voxel and stay inside the volume. Otherwise, or where nothing is labelled, all places
    inside the volume are equally likely. Along an axis on which the volume is thinner than the patch, all places of the
    volume inside the patch are. With ``foreground=0`` it is the plain random crop (and pad).

    The voxels are those of ``sample.foreground`` where there are any and nothing has moved yet, else they are searched
    for in the label map, which must then be read as a whole.

    Args:
        size: voxels along (D, H, W), or one number for all three; None for an axis keeps all of it, as the slices of a
            window.
        foreground: chance to ask for a label.
        pad_value: of the image where the patch reaches out of the volume, in the image's units at this point of the
            pipeline; "min" is the least value of each channel in the patch, which in Hounsfield units and in most MRI
            is the air about the patient. Inferers surround a scan that is smaller than their window with 0, after
            normalisation: to train on the same, normalise first and give 0. The label there is 0.

    Raises:
        ValueError: (on use) labels are asked for and the sample knows of none.
    """

    def __init__(
        self, size: int | Sequence[int | None], *, foreground: float = 0.33, pad_value: float | Literal["min"] = "min"
    ):
        self.size = sides(size)
        self.foreground, self.pad_value = probability(foreground), pad_value

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        shape = sample.image.shape
        size = settled(self.size, shape)
        room = np.subtract(shape, size)
        low, high = np.minimum(room, 0), np.maximum(room, 0)
        voxel = self._labelled_voxel(sample, rng) if rng.random() < self.foreground else None
        if voxel is not None:
            low, high = np.maximum(low, voxel - size + 1), np.minimum(high, voxel)
        corner = rng.integers(low, high, endpoint=True)
        return {"corner": tuple(corner.tolist()), "size": size, "before": shape}

    def _labelled_voxel(self, sample: Sample, rng: np.random.Generator) -> np.ndarray | None:
        """(3,) the place of a voxel, or None where nothing is labelled."""
        moved = (isinstance(step, SpatialTransform) and step.moves(**drawn) for step, drawn in sample.history)
        if sample.foreground is not None and not any(moved):
            known = {label: places for label, places in sample.foreground.items() if len(places)}
            labels = sorted(known.keys() - UNLABELLED)
            if not labels:
                return None
            places = known[labels[rng.integers(len(labels))]]
            return places[rng.integers(len(places))].astype(int)
        if sample.label_map is None:
            raise ValueError(
                f"case '{sample.name}': {type(self).__name__} is to find labels, but the case has no label map; "
                "set foreground=0"
            )
        array_DHW = np.asarray(sample.label_map.array)[0]
        places = np.flatnonzero(array_DHW)  # most voxels are background
        values = array_DHW.ravel()[places]
        labels = np.setdiff1d(values, UNLABELLED)
        if not labels.size:
            return None
        places = places[values == labels[rng.integers(labels.size)]]
        return np.array(np.unravel_index(places[rng.integers(places.size)], array_DHW.shape))


@TRANSFORMS.register_module()
class RandomZCrop(Cut):
    """Cut ``depth`` slices with labels in them: the published crop of abdominal CT.

    The first proposal starts anywhere between a window that begins with the first labelled slice and one that ends with
    the last. It is taken if it holds more than one label and none has a share of ``cat_max_ratio`` or more (255 left
    out); otherwise up to ten more are drawn from the whole volume, and the last is taken in any case. Differs from the
    release in that every labelled slice can be reached, and that a labelled part shorter than the window, no label at
    all, and a volume thinner than the window (which is surrounded by ``pad_value``, label 0) are no errors.

    Args:
        depth: slices.
        cat_max_ratio: the share of the commonest label at which a proposal is turned down.
        pad_value: as ``RandomPatch3D``'s.

    Raises:
        ValueError: (on use) the sample has no label map.
    """

    RETRIES = 10

    def __init__(self, depth: int = 32, *, cat_max_ratio: float = 0.95, pad_value: float | Literal["min"] = "min"):
        (self.depth, _, _), self.cat_max_ratio, self.pad_value = triple(depth), probability(cat_max_ratio), pad_value

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        if sample.label_map is None:
            raise ValueError(f"case '{sample.name}' has no label map, by which {type(self).__name__} places its crop")
        before = sample.image.shape
        room = before[0] - self.depth
        start = before[0] // 2 - self.depth // 2 if room <= 0 else self._start(sample, room, rng)
        return {"corner": (start, 0, 0), "size": (self.depth, *before[1:]), "before": before}

    def _start(self, sample: Sample, room: int, rng: np.random.Generator) -> int:
        """The first slice, in 0..room."""
        slices_DHW = np.asarray(sample.label_map.array)[0]
        width = int(slices_DHW.max()) + 1
        counts_DK = np.stack([np.bincount(slice_HW.ravel(), minlength=width) for slice_HW in slices_DHW])
        counts_DK[:, IGNORED : IGNORED + 1] = 0
        labelled = np.flatnonzero(counts_DK[:, 1:].any(axis=1))
        if not labelled.size:
            return int(rng.integers(room, endpoint=True))
        first, last = labelled[0], labelled[-1]
        start = int(rng.integers(min(first, room), min(max(last - self.depth + 1, first), room), endpoint=True))
        for _ in range(self.RETRIES):
            held_K = counts_DK[start : start + self.depth].sum(axis=0)
            if np.count_nonzero(held_K) > 1 and held_K.max() < self.cat_max_ratio * held_K.sum():
                break
            start = int(rng.integers(room, endpoint=True))
        return start
