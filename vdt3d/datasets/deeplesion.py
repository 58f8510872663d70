"""DeepLesion: lesions of the whole body in CT, a box in a key slice each, and the 3D boxes others drew about them."""

import math
import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from vdt3d.datasets.lesion_scans import MIDDLE, LesionScans
from vdt3d.io import PictureSeries, Series
from vdt3d.registry import DATASETS
from vdt3d.structures import Boxes
from vdt3d.utils.files import read_json

SUB_VOLUME = re.compile(r"(?P<series>\w+)_(?P<first>\d+)-(?P<last>\d+)(?:\.annot)?")


@DATASETS.register_module()
class DeepLesion(LesionScans):
    """DeepLesion as ``LesionScans``, in Hounsfield units; group: the patient.

    Annotations are those that ``tools/dataset/prepare.py deeplesion`` makes of DL_info.csv, or the json files of the
    published MP3D and MVP-Net, which count alike and lack types and diameters. Their "area" is wrong and is not read.

    Args:
        data_root: folder of the data.
        prepared: folder of the cache that the preparation wrote, relative to ``data_root``. Without it every slice is
            read from its 16-bit picture, ``data_root``/Images_png/000001_01_01/109.png: several times slower.
        **kwargs: as ``LesionScans``; ``data_prefix=dict(img=...)`` is another place for the pictures.

    Raises:
        ValueError: as ``LesionScans``. (On use) a picture that is not of 16 bits.
    """

    def __init__(self, data_root: str | Path, *, prepared: str | None = None, **kwargs):
        self.cached = prepared is not None
        kwargs.setdefault("data_prefix", {"img": "Images_png"})
        super().__init__(data_root, prepared=prepared or "", **kwargs)

    def _open(self, name: str) -> Series:
        return super()._open(name) if self.cached else PictureSeries(Path(self.data_prefix["img"], name))

    def _path(self, image: PurePosixPath) -> Path:
        return super()._path(image) if self.cached else Path(self.data_prefix["img"], image.parent.name, image.name)


class SubVolume(NamedTuple):
    """Neighbouring slices of a series in which every lesion was given a 3D box.

    Fields:
        part: "val" or "test", where the list says so.
        series: its folder, such as "000001_03_01".
        first, last: numbers of its slices, both included.
        boxes: on the grid of the whole series, where slice ``n`` reaches from n to n + 1 along D; its voxels are taken
            for 1 mm.
    """

    part: str
    series: str
    first: int
    last: int
    boxes: Boxes


def read_box_lists(path: str | Path) -> list[SubVolume]:
    """One of the published lists of 3D boxes in DeepLesion, as json; the order is the file's.

    Three forms are known by their look. (The originals are pickles, which run code when they are opened; turn them into
    json where that does no harm.)

    - {"val": {"000001_03_01_058-118": [[x1, y1, z1, x2, y2, z2], ...]}, ...}: Yan et al. 2020, voxels from 0 of which
      both ends are included, z the slice's number in the series.
    - {"000001_03_01_058-118": [[x1, y1, x2, y2, z1, z2], ...]}: Cai et al. 2020; x and y as in DL_info.csv, from 1 at
      the middle of the first pixel; z from 0 at the middle of the sub-volume's first slice.
    - the same by slice: {"000001_03_01_058-118.annot": {"30": [[x1, y1, x2, y2, 30, 30], ...]}}.

    Raises:
        ValueError: the file is missing, damaged or of another form, or a box is empty, inverted or not in its slices.
    """
    try:
        content = read_json(path)
        manual = all(SUB_VOLUME.fullmatch(name) is None for name in content)
        parts = content if manual else {"": content}
        return [
            _sub_volume(part, name, listed, _from_voxels if manual else _from_points)
            for part, volumes in parts.items()
            for name, listed in volumes.items()
        ]
    except FileNotFoundError:
        raise ValueError(f"there is no {path}; data/README.md says where it comes from") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no list of 3D boxes: {error}") from error


def _sub_volume(part: str, name: str, listed: list | dict, corners) -> SubVolume:
    match = SUB_VOLUME.fullmatch(name)
    if match is None:
        raise ValueError(f"'{name}' is no sub-volume, such as 000001_03_01_058-118")
    first, last = int(match["first"]), int(match["last"])
    rows = [row for rows in listed.values() for row in rows] if isinstance(listed, dict) else listed
    boxes_N6 = np.array([corners(row, first) for row in rows], dtype=np.float64).reshape(-1, 6)
    empty = (boxes_N6[:, :3] >= boxes_N6[:, 3:]).any(axis=1)
    beyond = (boxes_N6[:, 0] < first) | (boxes_N6[:, 3] > last + 1)
    if (empty | beyond).any():
        row = rows[int(np.argmax(empty | beyond))]
        raise ValueError(f"{name}: the box {row} is empty, inverted or not in its slices")
    return SubVolume(part, match["series"], first, last, Boxes(boxes_N6))


def _from_voxels(row: list[float], first: int) -> tuple[float, ...]:
    x1, y1, z1, x2, y2, z2 = row
    return z1, y1, x1, z2 + 1, y2 + 1, x2 + 1


def _from_points(row: list[float], first: int) -> tuple[float, ...]:
    """In z all slices whose middles lie in the box: from 5 to 6 are two, from -0.5 to 0.5 is the first."""
    x1, y1, x2, y2, z1, z2 = row
    low, high = (y1 - 1 + MIDDLE, x1 - 1 + MIDDLE), (y2 - 1 + MIDDLE, x2 - 1 + MIDDLE)
    return first + math.ceil(z1), *low, first + math.floor(z2) + 1, *high
