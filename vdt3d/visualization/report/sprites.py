"""A case as files a browser reads: the slices of its scan, and of what lies on it, as sheets of 8 bits.

Arrays (C, D, H, W), towards the viewer (``towards_viewer``): D to the head, H to the back, W to the patient's left.
"""

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import adaptive_avg_pool3d

from vdt3d.structures import IGNORED, Boxes, LabelMap, Volume
from vdt3d.visualization.sheets import towards_viewer

SIDE = 256  # voxels along an axis, at most
LIMIT = 600_000  # bytes of a case, at most
QUALITY = 70  # of the WebP
SAMPLED = 1_000_000  # voxels whose percentiles tell the window
LAST_CODE = IGNORED - 1
# Hounsfield units and the levels that show them: 3 HU a level where soft tissue lies, 13 to 25 beyond.
CT_LEVELS = ((-1024.0, -200.0, 240.0, 1400.0), (0, 64, 208, 255))
CT_PRESETS = {
    "abdomen": (-160.0, 240.0),
    "lung": (-1350.0, 150.0),
    "bone": (-500.0, 1300.0),
    "brain": (0.0, 80.0),
}


class Sprites(NamedTuple):
    """Fields:
    files: name to suffix and content; "image", and of the layers those there are.
    facts: what it takes to show them: ``shape``, ``spacing`` (z, y, x) mm, ``columns`` of slices in a sheet,
        ``values`` and the ``levels`` of the image that stand for them, ``unit``, ``presets`` (low, high) by name, the
        first by default, ``note`` where something was cut, and ``boxes``.
    """

    files: dict[str, tuple[str, bytes]]
    facts: dict[str, Any]


def case_sprites(
    scan: Volume,
    labels: Mapping[str, LabelMap] | None = None,
    heat: Volume | None = None,
    boxes: Mapping[str, Boxes] | None = None,
    *,
    codes: Mapping[int, int] | None = None,
    hounsfield: tuple[np.ndarray, np.ndarray] | None = None,
    limit: int = LIMIT,
) -> Sprites:
    """The first channel of a scan, and what lies on it, as coarse as ``limit`` asks for.

    Args:
        labels: by name, on the scan's grid.
        heat: in 0..1, on the scan's grid.
        boxes: by name, on any grid with axes parallel to the scan's.
        codes: which number of a sheet stands for a label: see ``label_codes``.
        hounsfield: of a CT values, rising, and the Hounsfield units they stand for.
        limit: bytes.

    Raises:
        ValueError: labels or heat of another shape than the scan's.
    """
    layers = {**(labels or {}), **({} if heat is None else {"heat": heat})}
    for name, layer in layers.items():
        if layer.shape != scan.shape:
            raise ValueError(f"the {name}, {layer.shape}, does not lie on a scan of {scan.shape} voxels")
    scan = towards_viewer(scan.replace(array=np.asarray(scan.array[:1], np.float32)))
    layers = {name: towards_viewer(layer) for name, layer in layers.items()}
    extent = [count * step for count, step in zip(scan.shape, scan.spacing, strict=True)]
    coarsest = max([length / SIDE for length, n in zip(extent, scan.shape, strict=True) if n > SIDE], default=0.0)
    while True:
        shape = tuple(
            max(1, round(length / max(step, coarsest))) for length, step in zip(extent, scan.spacing, strict=True)
        )
        array = _averaged(scan.array[0], shape)
        array = array if hounsfield is None else np.interp(array, *hounsfield)
        values, levels, presets = _calibration(array, hounsfield is not None)
        grey = np.interp(array, values, levels).round().astype(np.uint8)
        columns = max(1, round(math.sqrt(shape[0] * shape[1] / shape[2])))
        files = {"image": ("webp", _encoded(_sheet(grey, columns), "WEBP", quality=QUALITY, method=2))}
        for name, layer in layers.items():
            if name == "heat":
                level = (255 * _averaged(np.asarray(layer.array[0], np.float32), shape).clip(0, 1)).astype(np.uint8)
                files[name] = ("webp", _encoded(_sheet(level, columns), "WEBP", quality=QUALITY, method=2))
            else:
                coded = _coded(_nearest(layer.array[0], shape), codes or {})
                files[name] = ("png", _encoded(_sheet(coded, columns), "PNG", optimize=True))
        size = sum(len(content) for _, content in files.values())
        if size <= limit or max(shape) == 1:
            break
        # Bytes go with the voxels of two axes at least: thick slices stay as they are for a while.
        coarsest = max(coarsest, min(scan.spacing)) * max(1.05, math.sqrt(size / limit))
    spacing = [length / count for length, count in zip(extent, shape, strict=True)]
    factors = [count / had for count, had in zip(shape, scan.shape, strict=True)] * 2
    placed = {name: of_kind.on(scan.affine).corners * factors for name, of_kind in (boxes or {}).items()}
    note = ""
    if shape != scan.shape:
        note = f"shown with {' x '.join(map(str, shape))} of its {' x '.join(map(str, scan.shape))} voxels"
    facts = {
        "shape": list(shape),
        "spacing": [round(step, 4) for step in spacing],
        "columns": columns,
        "values": list(values),
        "levels": list(levels),
        "unit": "" if hounsfield is None else "HU",
        "presets": presets,
        "note": note,
        "boxes": {name: corners.round(2).tolist() for name, corners in placed.items()},
    }
    return Sprites(files, facts)


def label_codes(regions: Mapping[str, int | Sequence[int]]) -> tuple[dict[int, int], dict[str, list[int]]]:
    """The number of a sheet for each label of the regions, from 1 on, and the numbers each region is made of.

    A sheet has 254 numbers: labels beyond are not shown. 255 stands for what nobody knows.
    """
    known = sorted({int(label) for labels in regions.values() for label in np.atleast_1d(labels)} - {0})[:LAST_CODE]
    codes = {label: number for number, label in enumerate(known, 1)}
    return codes, {
        name: [codes[int(label)] for label in np.atleast_1d(labels) if int(label) in codes]
        for name, labels in regions.items()
    }


def slices_of(content: bytes, facts: Mapping[str, Any]) -> np.ndarray:
    """The slices (D, H, W) uint8 of a sheet."""
    depth, height, width = facts["shape"]
    with Image.open(BytesIO(content)) as picture:
        sheet = np.asarray(picture.convert("L"))
    rows = sheet.shape[0] // height
    tiles = sheet.reshape(rows, height, facts["columns"], width).swapaxes(1, 2)
    return tiles.reshape(-1, height, width)[:depth]


def _calibration(array: np.ndarray, hounsfield: bool) -> tuple[Sequence[float], Sequence[int], dict[str, list[float]]]:
    """The values that stand for levels, the levels, and the windows on offer."""
    if hounsfield:
        least, most = float(array.min()), float(array.max())
        fitting = {
            name: [below, above]
            for name, (below, above) in CT_PRESETS.items()
            if min(above, most) - max(below, least) >= (above - below) / 2  # clipped values would show nothing
        }
        return *CT_LEVELS, fitting | {"all values": [max(least, -1024.0), min(most, 1400.0)]}
    some = array.ravel()[:: max(1, array.size // SAMPLED)]
    least, low, high, most = (float(value) for value in np.percentile(some, (0.1, 0.5, 99.5, 99.9)))
    if not least < most:  # nearly all voxels are equal, as in a mask
        least, most = float(array.min()), float(array.max())
        most = most if least < most else least + 1
        return (least, most), (0, 255), {"all values": [least, most]}
    return (least, most), (0, 255), {"contrast": [low, high], "all values": [least, most]}


def _averaged(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """(D, H, W) to ``shape``: each voxel the mean of what it covers."""
    if array.shape == tuple(shape):
        return array
    return adaptive_avg_pool3d(torch.from_numpy(np.ascontiguousarray(array))[None], tuple(shape))[0].numpy()


def _nearest(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """(D, H, W) to ``shape``: each voxel the one at its middle."""
    middles = [((np.arange(n) + 0.5) * had / n).astype(int) for n, had in zip(shape, array.shape, strict=True)]
    return np.asarray(array)[np.ix_(*middles)]


def _coded(labels: np.ndarray, codes: Mapping[int, int]) -> np.ndarray:
    table = np.zeros(max(int(labels.max(initial=0)), IGNORED) + 1, np.uint8)
    table[IGNORED] = IGNORED
    for label, number in codes.items():
        if label < len(table):
            table[label] = number
    return table[labels.astype(np.intp)]


def _sheet(slices: np.ndarray, columns: int) -> np.ndarray:
    """(D, H, W) as one picture, slice after slice along its rows."""
    depth, height, width = slices.shape
    rows = -(-depth // columns)
    tiles = np.zeros((rows * columns, height, width), np.uint8)
    tiles[:depth] = slices
    return tiles.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)


def _encoded(sheet: np.ndarray, kind: str, **options: Any) -> bytes:
    file = BytesIO()
    Image.fromarray(sheet).save(file, kind, **options)
    return file.getvalue()
