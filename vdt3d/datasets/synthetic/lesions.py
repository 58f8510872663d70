"""Phantom lesions: balls in noise among tubes of which a slice shows the same discs; windows, or DeepLesion's files.

Arrays are (D, H, W), spacing is (z, y, x) in mm.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from mmengine.dataset import Compose
from PIL import Image
from torch.utils.data import Dataset

from vdt3d.datasets.base import built, never_none
from vdt3d.datasets.synthetic.folder import made_once
from vdt3d.registry import DATASETS
from vdt3d.structures import Boxes, Sample, SpacedWindow, Volume, affine_from_spacing

SPLITS = ("train", "val", "test")
TISSUE = 40.0  # HU
EDGE = 2.0  # mm over which a disc fades out, as the scanner blurs it
GAP = 2.0  # mm at least between two discs in the key slice, and between a disc and the picture's edge
TRIES = 50  # to find a place for a disc
OFF_CENTRE = 0.6  # at most, of its radius, does a ball's middle lie above or below the key slice
TILT = 0.3  # mm at most by which a tube moves along each side, from mm to mm of depth
ZERO_HU = 32768  # DeepLesion's pictures hold Hounsfield units plus this


@dataclass(frozen=True)
class LesionPhantoms:
    """What phantoms with lesions look like; of each range both ends may occur.

    Args:
        lesions: how many balls, as far as there is room.
        distractors: how many tubes. They cross all slices and, in the key slice, show discs whose sizes and brightness
            are drawn as those of the balls are: which is which, only its neighbours tell. (0, 0) for none.
        radius: of the balls, in mm. Those of the default look much the same 2.5 mm up or down, and end within 10 mm.
        contrast: HU of balls and tubes above the tissue around them.
        noise: its standard deviation over the contrast.

    Raises:
        ValueError: a range that is none, or a number that is not positive.
    """

    lesions: Sequence[int] = (0, 2)
    distractors: Sequence[int] = (1, 3)
    radius: Sequence[float] = (6.0, 9.0)
    contrast: float = 80.0
    noise: float = 0.5

    def __post_init__(self):
        ranges = (self.lesions, self.distractors, self.radius)
        if any(len(each) != 2 or not 0 <= each[0] <= each[1] for each in ranges) or not self.radius[0] > 0:
            raise ValueError(f"lesions, distractors and radius are ranges (least, most), radius above 0; got {self}")
        if not (self.contrast > 0 and self.noise >= 0):
            raise ValueError(f"contrast={self.contrast} is above 0, noise={self.noise} at least 0")

    def draw(
        self, rng: np.random.Generator, shape: tuple[int, int, int], spacing: tuple[float, float, float], key: int
    ) -> "Drawn":
        """A scan, or a window, of which slice ``key`` shows every object there is.

        Args:
            rng: source of chance.
            shape: voxels.
            spacing: mm.
            key: the slice that boxes are of.
        """
        depth, *plane = shape
        z = (np.arange(depth) - key) * spacing[0]
        y, x = ((np.arange(n) + 0.5) * step for n, step in zip(plane, spacing[1:], strict=True))
        sides = plane[0] * spacing[1], plane[1] * spacing[2]
        density, found, discs = np.zeros(shape, np.float32), [], []
        balls, tubes = (rng.integers(*ends, endpoint=True) for ends in (self.lesions, self.distractors))
        for is_ball in rng.permutation([True] * balls + [False] * tubes):  # the later, the less room there is
            ball = rng.uniform(*self.radius)
            off = ball * rng.uniform(-OFF_CENTRE, OFF_CENTRE)
            disc, tilt = np.sqrt(ball**2 - off**2), rng.uniform(-TILT, TILT, 2)
            place = _place(rng, disc, sides, discs)
            if place is None:
                continue
            discs.append((*place, disc))
            if is_ball:
                radii, shift = np.sqrt(np.maximum(ball**2 - (z - off) ** 2, 0)), np.zeros((2, depth))
                found.append((*place, disc))
            else:
                radii, shift = np.full(depth, disc), tilt[:, None] * z
            for at in np.flatnonzero(radii):
                centre = place[0] + shift[0, at], place[1] + shift[1, at]
                distance = np.hypot(y[:, None] - centre[0], x - centre[1])
                np.maximum(density[at], np.clip((radii[at] - distance) / EDGE + 0.5, 0, 1), out=density[at])
        hu = TISSUE + self.contrast * (density + rng.normal(0, self.noise, shape))
        discs_N3 = np.array(found).reshape(-1, 3)
        return Drawn(hu.astype(np.float32), _corners(discs_N3, spacing, key), 2 * discs_N3[:, 2])


class Drawn(NamedTuple):
    """A phantom.

    Fields:
        hu: (D, H, W) float32.
        corners: (N, 6) of the balls' discs in the key slice, as ``Boxes`` has them.
        diameters: (N,) of these discs, in mm.
    """

    hu: np.ndarray
    corners: np.ndarray
    diameters: np.ndarray


@DATASETS.register_module()
class PhantomLesions(Dataset):
    """Windows of phantoms with lesions, made whenever they are asked for: what is in one follows from its seed, split
    and number.

    A sample has ``boxes`` and ``reference``, the balls' discs in the key slice, with their "diameter_mm", as
    ``DeepLesion`` has them.

    Args:
        cases: how many windows.
        split: "train", "val" or "test": other windows each.
        window: arguments of ``SpacedWindow``; the model must be given the same.
        size: pixels along each side.
        pixel: mm of one.
        make: arguments of ``LesionPhantoms``.
        seed: another seed, other windows.
        pipeline: transforms, or their configs, from ``Sample`` to what the data loader collates.

    Raises:
        ValueError: an unknown split, or a window or phantom that cannot be.
    """

    METAINFO = {"classes": ("lesion",)}

    def __init__(
        self,
        *,
        cases: int = 200,
        split: str = "train",
        window: dict | SpacedWindow | None = None,
        size: int = 128,
        pixel: float = 0.6,
        make: dict | None = None,
        seed: int = 0,
        pipeline: Sequence[dict | Callable] = (),
    ):
        if split not in SPLITS:
            raise ValueError(f"split={split!r} is none of {', '.join(SPLITS)}")
        self.cases, self.split, self.size, self.pixel, self.seed = cases, split, size, pixel, seed
        self.window, self.phantoms = SpacedWindow.of(window), LesionPhantoms(**(make or {}))
        self.metainfo = dict(self.METAINFO)
        self.pipeline = Compose(built(pipeline))

    def __len__(self) -> int:
        return self.cases

    def read(self, index: int) -> Sample:
        """Window ``index``, before the pipeline."""
        if not 0 <= index < self.cases:
            raise IndexError(f"there is no window {index} among {self.cases}")
        rng = np.random.default_rng((self.seed, SPLITS.index(self.split), index))
        shape, spacing = (self.window.slices, self.size, self.size), (self.window.spacing, self.pixel, self.pixel)
        drawn = self.phantoms.draw(rng, shape, spacing, self.window.place)
        image = Volume(drawn.hu[None], affine_from_spacing(spacing))
        boxes = Boxes(drawn.corners, affine=image.affine, facts={"diameter_mm": drawn.diameters})
        name = f"{self.split}_{index:05d}"
        return Sample(image, boxes=boxes, reference=boxes, group=name, name=name)

    def __getitem__(self, index: int) -> Any:
        """Window ``index``, sent through the pipeline.

        Raises:
            ValueError: the pipeline returned None.
        """
        sample = self.read(index)
        return never_none(self.pipeline(sample), sample.name, self.pipeline)


def write_deeplesion_like(
    folder: str | Path, *, series: int = 5, slices: int = 9, side: int = 64, seed: int = 0
) -> Path:
    """Make phantoms as DeepLesion is published, ``folder``/DL_info.csv and ``folder``/Images_png/SERIES/NNN.png, once.

    Each series is of another patient and has one key slice with one or two lesions, each of which is a row of the csv
    with its 18 columns. Of five series three are for training, one for validation and one, whose lesions are marked as
    possibly noisy, for testing. The intervals between slices differ.

    Args:
        folder: what to make.
        series: how many.
        slices: pictures of each; the key slice is in their middle.
        side: pixels along each side of a picture.
        seed: another seed, other lesions.

    Raises:
        ValueError: ``folder`` holds something else.
    """

    def fill(aside: Path) -> None:
        phantoms, rows = LesionPhantoms(lesions=(1, 2), radius=(4.0, 8.0)), []
        for number in range(series):
            spacing = ((5.0, 1.0, 2.5, 1.25, 2.0)[number % 5], 0.8, 0.8)
            key = slices // 2
            drawn = phantoms.draw(np.random.default_rng((seed, number)), (slices, side, side), spacing, key)
            patient, first = number + 1, 20 + number
            home = aside / "Images_png" / f"{patient:06d}_01_01"
            home.mkdir(parents=True)
            for at, plane in enumerate(drawn.hu.round().astype(int) + ZERO_HU):
                Image.fromarray(plane.astype(np.uint16)).save(home / f"{first + at:03d}.png")
            facts = _published_facts(patient, first, key, slices, side, spacing)
            rows += [facts | _published_box(corners) for corners in drawn.corners]
        pd.DataFrame(rows)[list(PUBLISHED_COLUMNS)].to_csv(aside / "DL_info.csv", index=False)

    wanted = {"maker": "write_deeplesion_like", "series": series, "slices": slices, "side": side, "seed": seed}
    return made_once(Path(folder), wanted, fill)


PUBLISHED_COLUMNS = (
    *("File_name", "Patient_index", "Study_index", "Series_ID", "Key_slice_index", "Measurement_coordinates"),
    *("Bounding_boxes", "Lesion_diameters_Pixel_", "Normalized_lesion_location", "Coarse_lesion_type"),
    *("Possibly_noisy", "Slice_range", "Spacing_mm_px_", "Image_size", "DICOM_windows", "Patient_gender"),
    *("Patient_age", "Train_Val_Test"),
)
PARTS = (1, 1, 1, 2, 3)  # training, validation, test


def _published_facts(
    patient: int, first: int, key: int, slices: int, side: int, spacing: tuple[float, float, float]
) -> dict[str, Any]:
    """What DL_info.csv says of a series and its key slice; of training lesions it does not tell the type."""
    part = PARTS[(patient - 1) % 5]
    return {
        "File_name": f"{patient:06d}_01_01_{first + key:03d}.png",
        "Patient_index": patient,
        "Study_index": 1,
        "Series_ID": 1,
        "Key_slice_index": first + key,
        "Coarse_lesion_type": -1 if part == 1 else 1 + patient % 8,
        "Possibly_noisy": int(part == 3),
        "Slice_range": f"{first}, {first + slices - 1}",
        "Spacing_mm_px_": ", ".join(f"{step:g}" for step in (*spacing[1:], spacing[0])),
        "Image_size": f"{side}, {side}",
        "DICOM_windows": "-175, 275",
        "Patient_gender": "FM"[patient % 2],
        "Patient_age": 40 + patient,
        "Train_Val_Test": part,
    }


def _published_box(corners: np.ndarray) -> dict[str, str]:
    """What DL_info.csv says of a lesion; its points count from 1 at the middle of the first pixel."""
    _, y1, x1, _, y2, x2 = corners + 0.5
    y, x = (y1 + y2) / 2, (x1 + x2) / 2
    numbers = {
        "Measurement_coordinates": (x1, y, x2, y, x, y1, x, y2),
        "Bounding_boxes": (x1, y1, x2, y2),
        "Lesion_diameters_Pixel_": (x2 - x1, y2 - y1),
        "Normalized_lesion_location": (0.5, 0.5, 0.5),
    }
    return {name: ", ".join(f"{value:.6g}" for value in values) for name, values in numbers.items()}


def _place(
    rng: np.random.Generator, radius: float, sides: tuple[float, float], others: Sequence[tuple[float, float, float]]
) -> tuple[float, float] | None:
    """Where a disc lies (y, x) in mm, clear of ``others`` (y, x, radius); None where there is no room."""
    margin = radius + GAP
    if min(sides) < 2 * margin:
        return None
    for _ in range(TRIES):
        y, x = (rng.uniform(margin, side - margin) for side in sides)
        if all(np.hypot(y - v, x - u) >= radius + other + GAP for v, u, other in others):
            return y, x
    return None


def _corners(discs_N3: np.ndarray, spacing: tuple[float, float, float], key: int) -> np.ndarray:
    """(N, 6) boxes about discs (y, x, radius) in mm of slice ``key``."""
    corners = np.empty((len(discs_N3), 6))
    corners[:, 0], corners[:, 3] = key, key + 1
    for side, sign in ((0, -1), (3, 1)):
        corners[:, side + 1 : side + 3] = (discs_N3[:, :2] + sign * discs_N3[:, 2:]) / spacing[1:]
    return corners
