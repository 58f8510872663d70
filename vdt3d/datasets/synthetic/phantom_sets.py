"""Phantoms as files: nodule crops in the published LIDC format, and NIfTI volumes as a user would bring them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from vdt3d.datasets.lidc import LIDCClassification
from vdt3d.datasets.synthetic.folder import made_once
from vdt3d.datasets.synthetic.phantoms import draw_nodule, draw_organs
from vdt3d.io import write_nifti
from vdt3d.registry import DATASETS
from vdt3d.structures import LabelMap, Volume, affine_from_spacing

NODULE_TABLE = "info/lidc_nodule_info_new_with_subset.csv"
RATINGS = (
    *("subtlety", "internalStructure", "calcification", "sphericity", "margin", "lobulation", "spiculation"),
    *("texture", "malignancy"),
)
# malignancy as most readers see it: how long the spikes are, and how often
SPICULATION = {1: (0.0, 0.2), 2: (0.05, 0.35), 3: (0.3, 0.6), 4: (0.3, 0.7), 5: (0.4, 0.9)}
SHARES = (0.25, 0.25, 0.1, 0.2, 0.2)


class Nodule(NamedTuple):
    """One phantom nodule: the first or a later one of its patient, and the malignancy that its spikes suggest."""

    patient: int
    roi: int
    mode: int
    hu: np.ndarray
    mask: np.ndarray


def _nodules(cases: int, seed: int, **grid) -> Iterator[Nodule]:
    """Draw ``cases`` nodules of patients who have one to three; each depends on ``seed`` and its number only."""
    patient, roi = 1, 0
    for number in range(cases):
        rng = np.random.default_rng((seed, number))
        if roi == 1 + patient % 3:
            patient, roi = patient + 1, 0
        roi += 1
        mode = int(rng.choice(5, p=SHARES)) + 1
        yield Nodule(patient, roi, mode, *draw_nodule(rng, rng.uniform(*SPICULATION[mode]), **grid))


def write_nodules(folder: str | Path, *, cases: int = 200, seed: int = 0, side: int = 64) -> Path:
    """Make nodule crops as ``LIDCClassification`` reads them, once: voxels, nodule table and split by patient.

    Args:
        folder: what to make.
        cases: nodules, of which a tenth are undecided (mode 3) and so belong to no class.
        seed: another seed, other nodules.
        side: voxels of 1 mm along each axis of a crop.

    Raises:
        ValueError: ``side`` is below 58, what a crop of 48 shifted by 5 needs, or ``folder`` holds something else.
    """
    if side < 58:
        raise ValueError(f"side={side}: a crop of 48 voxels that is shifted by 5 needs 58 or more")

    def fill(aside: Path) -> None:
        (aside / "nodule").mkdir()
        (aside / NODULE_TABLE).parent.mkdir()
        rows, lists = [], {"train": [], "test": []}
        for nodule in _nodules(cases, seed, shape=(side,) * 3):
            name = f"lidc{nodule.patient}_{nodule.roi}"
            grey = np.round((nodule.hu.clip(-1024, 400) + 1024) / 1424 * 255).astype(np.uint8)
            np.savez_compressed(aside / "nodule" / f"{name}.npz", voxel=grey, answer1=nodule.mask.astype(np.uint8))
            rows.append({"index": name, **_table_row(nodule)})
            lists["train" if nodule.patient % 4 else "test"].append(f"{name}.npz")
        pd.DataFrame(rows).to_csv(aside / NODULE_TABLE, index=False)
        columns = {part: pd.Series(names, dtype=str) for part, names in lists.items()}
        pd.DataFrame(columns).to_csv(aside / "train_test_split.csv")

    return made_once(Path(folder), {"maker": "write_nodules", "cases": cases, "seed": seed, "side": side}, fill)


def write_nodule_volumes(folder: str | Path, *, cases: int = 60, seed: int = 0) -> Path:
    """Make nodules as NIfTI files of 2 x 1 x 1 mm voxels with ``labels.csv`` for ``VolumeClassification``, once.

    Raises:
        ValueError: ``folder`` holds something else.
    """

    def fill(aside: Path) -> None:
        spacing, rows = (2.0, 1.0, 1.0), []
        for nodule in _nodules(cases, seed, shape=(32, 64, 64), spacing=spacing):
            path = f"images/patient{nodule.patient}_{nodule.roi}.nii.gz"
            write_nifti(Volume(nodule.hu.round()[None], affine_from_spacing(spacing)), aside / path)
            target = "spiculated" if nodule.mode > 2 else "smooth"
            rows.append({"path": path, "target": target, "patient": nodule.patient})
        pd.DataFrame(rows).to_csv(aside / "labels.csv", index=False)

    return made_once(Path(folder), {"maker": "write_nodule_volumes", "cases": cases, "seed": seed}, fill)


def write_organs(folder: str | Path, *, cases: int = 12, seed: int = 0) -> Path:
    """Make abdomens of 5 x 3.5 x 3.5 mm voxels, ``folder``/images/NAME.nii.gz and ``folder``/labels/NAME.nii.gz, once.

    Raises:
        ValueError: ``folder`` holds something else.
    """

    def fill(aside: Path) -> None:
        affine = affine_from_spacing((5.0, 3.5, 3.5))
        for number in range(cases):
            hu, labels = draw_organs(np.random.default_rng((seed, number)))
            write_nifti(Volume(hu.round()[None], affine), aside / f"images/organs_{number:03d}.nii.gz")
            write_nifti(LabelMap(labels[None], affine), aside / f"labels/organs_{number:03d}.nii.gz")

    return made_once(Path(folder), {"maker": "write_organs", "cases": cases, "seed": seed}, fill)


@DATASETS.register_module()
class PhantomNodules(LIDCClassification):
    """Phantom nodules that make themselves: see ``write_nodules``.

    Args:
        data_root: folder to make them in, unless they are there.
        make: other arguments of ``write_nodules``.
        **kwargs: as ``LIDCClassification``.
    """

    def __init__(self, data_root: str | Path, *, make: dict | None = None, **kwargs):
        super().__init__(write_nodules(data_root, **(make or {})), **kwargs)


def _table_row(nodule: Nodule) -> dict:
    """The row of a nodule under the published table's columns, save its index."""
    depth, height, width = (round(float(at.mean())) for at in np.nonzero(nodule.mask))
    volume = int(nodule.mask.sum())
    voted = f"{nodule.mode}{nodule.mode}{nodule.mode}{min(nodule.mode + 1, 5)}"
    return {
        "uid": f"PHANTOM-{nodule.patient:04d}",
        "scan": nodule.patient,
        "name": f"lidc{nodule.patient}",
        "roi": nodule.roi,
        "volume": volume,
        "diameter_mm": round((6 * volume / np.pi) ** (1 / 3), 3),
        **dict(zip(("coordZ", "coordY", "coordX"), (depth, height, width), strict=True)),
        **dict.fromkeys(("spacingZ", "spacingY", "spacingX"), 1.0),
        **dict.fromkeys(("nodIDs1", "nodIDs2", "nodIDs3", "nodIDs4"), ""),
        **dict.fromkeys(RATINGS, "3333"),
        "spiculation": voted,
        "malignancy": voted,
        "malignancy_mode": nodule.mode,
        "subset": f"subset{1 + nodule.patient % 5}",
        "remark": "phantom",
    }
