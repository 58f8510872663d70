"""What there is to know of one case: its grid, intensities and labels, and the spectra that copies are found by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import combinations
from typing import NamedTuple

import cc3d
import numpy as np
from nibabel import aff2axcodes

from vdt3d.datasets.inspection.cases import Entry, read_entry, read_masks_of
from vdt3d.datasets.inspection.spectrum import ends, sampled, spectrum
from vdt3d.structures import IGNORED, Boxes, LabelMap, Sample, Volume
from vdt3d.transforms import Reorient3D

LEVELS = (0, 0.5, 1, 2.5, 5, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 95, 97.5, 99, 99.5, 100)  # percentiles
SLICES = 4  # scans of so many slices, or more, are compared slice by slice, too


class Region(NamedTuple):
    """One label in one case: voxels, volume, connected parts (26 neighbours), and its name, where it is known."""

    voxels: int
    mm3: float
    components: int
    name: str = ""


@dataclass(frozen=True, eq=False)
class Facts:
    """One case.

    Args:
        problem: why it cannot be read; then nothing else is known of it.
        shape: voxels along (D, H, W). spacing: (z, y, x) in mm. orientation: of the stored axes (x, y, z), as "RAS".
        percentiles: of its intensities, at ``LEVELS``.
        regions: by label; None where it has no label map.
        annotators: Dice of each pair of masks of several annotators, by their names.
        box_sizes: the longest side of each box in mm; None where boxes are not what is learnt.
        digest: equal for equal voxels, whatever the type and the file.
        whole: spectrum of the scan in canonical orientation, or of the picture. slices: of its slices, as stored.
    """

    name: str
    splits: tuple[str, ...]
    target: str = ""
    group: str = ""
    problem: str = ""
    channels: int = 0
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    orientation: str = ""
    percentiles: tuple[float, ...] = ()
    regions: dict[int, Region] | None = None
    annotators: dict[str, float] = field(default_factory=dict)
    box_sizes: tuple[float, ...] | None = None
    digest: str = field(default="", repr=False)
    whole: np.ndarray | None = field(default=None, repr=False)
    slices: np.ndarray | None = field(default=None, repr=False)

    @property
    def axes(self) -> int:
        """2 for a picture, 3 for a scan."""
        return 2 if self.shape[:1] == (1,) else 3


def measure(entry: Entry) -> Facts:
    """Read a case and take its measures; one that cannot be trusted has a ``problem``."""
    known = {"name": entry.name, "splits": entry.splits, "target": entry.target, "group": entry.group}
    try:
        return Facts(**known, **_measures(entry, read_entry(entry)))
    except (ValueError, OSError) as error:
        return Facts(**known, problem=str(error))


def _measures(entry: Entry, sample: Sample) -> dict[str, object]:
    array = np.asarray(sample.image.array)
    image = sample.image.replace(array=array.view(np.uint8) if array.dtype == bool else array)
    grey = image.array.mean(axis=0, keepdims=True, dtype=np.float32) if image.channels > 1 else image.array
    limits = ends(grey)
    picture = image.shape[0] == 1
    canonical = image if picture else Reorient3D()(Sample(image=image.replace(array=grey))).image
    truth = sample.label_map or sample.reference
    percentiles = np.percentile(sampled(image.array), LEVELS).tolist()
    # A slice of a mask is a blob like any other.
    sliced = image.shape[0] >= SLICES and percentiles[LEVELS.index(5)] < percentiles[LEVELS.index(95)]
    return {
        "channels": image.channels,
        "shape": image.shape,
        "spacing": tuple(np.round(image.spacing, 4).tolist()),
        "orientation": "".join(aff2axcodes(image.affine[:, [2, 1, 0, 3]])),
        "percentiles": tuple(percentiles),
        "regions": _regions(truth, entry.labels) if isinstance(truth, LabelMap) else None,
        "annotators": _agreement(read_masks_of(entry, image.shape)),
        "box_sizes": _sizes(sample.boxes) if sample.boxes is not None else None,
        "digest": _digest(image),
        "whole": spectrum(grey[0, 0] if picture else canonical.array[0], limits, 2 if picture else 3),
        "slices": spectrum(grey[0], limits, 2) if sliced else None,
    }


def _regions(label_map: LabelMap, names: Sequence[str]) -> dict[int, Region]:
    """Of each label but the background."""
    labels_DHW = np.asarray(label_map.array)[0]
    labels_DHW = labels_DHW.astype(np.uint8 if labels_DHW.max() < 256 else np.uint32)
    parts_DHW, count = cc3d.connected_components(labels_DHW, connectivity=26, return_N=True)
    label_of_part = np.zeros(count + 1, np.int64)
    label_of_part[parts_DHW.reshape(-1)] = labels_DHW.reshape(-1)
    voxels = np.bincount(labels_DHW.reshape(-1))
    volume = float(np.prod(label_map.spacing))
    return {
        int(label): Region(
            int(voxels[label]),
            voxels[label] * volume,
            int((label_of_part[1:] == label).sum()),
            names[label] if label < len(names) else "",
        )
        for label in np.flatnonzero(voxels)
        if label not in (0, IGNORED)
    }


def _agreement(masks: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Dice of each pair of masks; of two empty ones, which agree on nothing that could be counted, there is none."""
    found = {}
    for one, other in combinations(masks, 2):
        a, b = masks[one] > 0, masks[other] > 0
        if size := int(a.sum()) + int(b.sum()):
            found[f"{one}, {other}"] = 2 * int((a & b).sum()) / size
    return found


def _sizes(boxes: Boxes) -> tuple[float, ...]:
    spacing = np.linalg.norm(boxes.affine[:3, :3], axis=0)
    sides = (boxes.corners[:, 3:] - boxes.corners[:, :3]) * spacing
    return tuple(sides.max(axis=1, initial=0).round(2).tolist())


def _digest(image: Volume) -> str:
    content = np.ascontiguousarray(image.array, dtype="<f4")
    return blake2b(content, digest_size=16, key=str(content.shape).encode()).hexdigest()
