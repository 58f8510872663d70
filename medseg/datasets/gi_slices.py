"""MR phantoms of the bowels as the UW-Madison GI Tract challenge has its scans: folders of 16-bit PNG, masks in a csv.

Arrays are (D, H, W); a slice of a file's name counts from 1.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from medseg.io import mask_rows, write_masks
from vdt3d.datasets.synthetic.folder import made_once

# organ: signal, centre and semi-axes (z, y, x), where the scan reaches from -1 to 1 along each axis. A border of the
# stomach lies in the large bowel.
GI_ORGANS = {
    "large_bowel": (2600, (0.0, 0.10, -0.42), (0.55, 0.42, 0.24)),
    "small_bowel": (3900, (-0.05, 0.42, 0.18), (0.50, 0.26, 0.28)),
    "stomach": (5200, (0.05, -0.20, -0.04), (0.50, 0.30, 0.30)),
}
BODY_SIGNAL, BODY_AXES = 1100, (0.85, 0.92)  # (y, x)
NOISE = 60.0
DAYS_APART = 13


def draw_bowels(
    rng: np.random.Generator, shape: tuple[int, int, int], anatomy: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A scan of a day: the patient's organs a little out of place, a coil on some side of the body, noise.

    Args:
        rng: the day's chance.
        shape: (D, H, W).
        anatomy: (organs, 2, 3) the patient's own centres and semi-axes, as ``draw_anatomy`` gives them.

    Returns:
        (D, H, W) uint16 signal from 0 to about 6000, and (D, H, W) uint8 labels, a bit for each of ``GI_ORGANS``.
    """
    z, y, x = np.meshgrid(*(np.linspace(1 / n - 1, 1 - 1 / n, n) for n in shape), indexing="ij", sparse=True)
    body = np.hypot(y / BODY_AXES[0], x / BODY_AXES[1]) <= 1
    signal, labels = np.where(body, BODY_SIGNAL, np.zeros(shape)), np.zeros(shape, np.uint8)
    for bit, ((value, _, _), (centre, axes)) in enumerate(zip(GI_ORGANS.values(), anatomy, strict=True)):
        middle = centre + rng.uniform(-0.02, 0.02, 3)
        away = sum(((at - m) / axis) ** 2 for at, m, axis in zip((z, y, x), middle, axes, strict=True))
        signal[away <= 1] = value
        labels[away <= 1] |= 1 << bit
    side = rng.uniform(0, 2 * np.pi)
    bias = np.exp(-0.15 * ((y - np.sin(side)) ** 2 + (x - np.cos(side)) ** 2))
    signal = np.abs(1.15 * bias * signal + rng.normal(0, NOISE, shape))  # a magnitude, as scanners give it
    return signal.round().astype(np.uint16), labels


def draw_anatomy(rng: np.random.Generator) -> np.ndarray:
    """(organs, 2, 3) centres and semi-axes (z, y, x) of a patient, near those of ``GI_ORGANS``; the shares of slices
    that they reach differ most.
    """
    usual = np.array([(centre, axes) for _, centre, axes in GI_ORGANS.values()])
    usual[:, 0] += rng.uniform(-0.02, 0.02, (len(usual), 3))
    usual[:, 1] *= rng.uniform(0.95, 1.05, (len(usual), 3))
    usual[:, :, 0] *= rng.uniform(0.8, 1.2)
    return usual


def write_gi_like(
    folder: str | Path, *, cases: int = 4, days: int = 2, slices: int = 16, side: int = 40, seed: int = 0
) -> Path:
    """Make ``folder``/train/caseC/caseC_dayD/scans/slice_*.png, train.csv and sample_submission.csv, once.

    Every case has a picture size of its own kind, wide, square or high. Slices at both ends of a scan are empty, as
    their cells in train.csv are; stomach and large bowel overlap in some. ``sample_submission.csv`` is its header
    alone, as the challenge hands it out.

    Args:
        folder: what to make.
        cases, days: patients, and scans of each.
        slices: of each scan.
        side: the shorter side of the pictures.
        seed: another seed, other scans.

    Raises:
        ValueError: ``folder`` holds something else.
    """

    def fill(aside: Path) -> None:
        rows = []
        for number in range(cases):
            case, anatomy = f"case{2 + 7 * number}", draw_anatomy(np.random.default_rng((seed, number)))
            for day in range(days):
                name, rng = f"{case}_day{DAYS_APART * day}", np.random.default_rng((seed, number, 1 + day))
                height, width, spacing = _plane(number, side)
                signal, labels = draw_bowels(rng, (slices, height, width), anatomy)
                home = aside / "train" / case / name / "scans"
                home.mkdir(parents=True)
                for at in range(slices):
                    size = f"{width}_{height}_{spacing:.2f}_{spacing:.2f}"
                    Image.fromarray(signal[at]).save(home / f"slice_{at + 1:04d}_{size}.png")
                rows += mask_rows(name, range(1, slices + 1), labels, tuple(GI_ORGANS))
        write_masks(aside / "train.csv", rows)
        (aside / "sample_submission.csv").write_text("id,class,predicted\n")

    wanted = {"maker": "write_gi_like", "cases": cases, "days": days, "slices": slices, "side": side, "seed": seed}
    return made_once(Path(folder), wanted, fill)


def _plane(number: int, side: int) -> tuple[int, int, float]:
    """Height, width and spacing in mm of the slices of a case."""
    longer = side * 6 // 5
    return ((side, longer, 1.5), (side, side, 1.5), (longer, side, 1.63))[number % 3]
