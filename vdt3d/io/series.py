"""Series: slices of a scan by their numbers, of which some may be missing, read one by one; planes are (H, W).

DeepLesion's folders hold the slices about each key slice and no others. In the cache a series NAME is ``NAME.b2nd``,
each slice a chunk of its own, and ``NAME.json``, which is written last: a series without it counts as absent.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from vdt3d.io.cache import VERSION, LazyArray, fits_int16, read_record, write_array
from vdt3d.io.checks import AGAIN, ScanError
from vdt3d.io.slices import find_slices, read_plane, slice_name
from vdt3d.utils.files import write_aside

ZERO_HU = 32768  # DeepLesion's pictures hold Hounsfield units plus this
BLOCK = (1, 32, 512)  # 32 KiB of int16, as in the cache of cases


class Series(ABC):
    """Slices by number.

    Attributes:
        path: the folder or file.
        numbers: (n,) of the slices there are, ascending.
    """

    path: Path
    numbers: np.ndarray

    @abstractmethod
    def planes(self, numbers: Iterable[int]) -> dict[int, np.ndarray]:
        """The slices (H, W) of these numbers, each read once.

        Raises:
            ScanError: a file is missing or damaged, or slices differ in size.
        """


class PictureSeries(Series):
    """A folder of DeepLesion's pictures NNN.png, 16-bit grey, as int16 Hounsfield units; listed once.

    Raises:
        ScanError: there is no such folder, or it holds no slices or a number twice.
    """

    def __init__(self, folder: str | Path):
        self.path = Path(folder)
        files = find_slices(folder)
        self.numbers = np.array([slice_name(file).number for file in files])
        self._names = [file.name for file in files]

    def planes(self, numbers: Iterable[int]) -> dict[int, np.ndarray]:
        found = {}
        for number in numbers:
            file = self.file(number)
            plane = found[number] = read_hounsfield(file)
            first = next(iter(found.values()))
            if plane.shape != first.shape:
                finding = f"is of {plane.shape} pixels (H, W), other slices of {first.shape}"
                raise ScanError(file, finding, "put the slices of other scans into folders of their own")
        return found

    def file(self, number: int) -> Path:
        """The picture of a slice there is."""
        return self.path / self._names[int(np.searchsorted(self.numbers, number))]


class CachedSeries(Series):
    """A series that ``write_series`` wrote, in the type it was written in.

    Raises:
        ScanError: it is missing, unfinished or of another version.
    """

    def __init__(self, folder: str | Path, name: str):
        self.path = Path(folder, f"{name}.b2nd")
        self.numbers = np.array(read_record(Path(folder), name)["numbers"])

    def planes(self, numbers: Iterable[int]) -> dict[int, np.ndarray]:
        array = LazyArray(self.path)  # opened anew, so that no process holds thousands of files
        places = {number: int(np.searchsorted(self.numbers, number)) for number in numbers}
        return {number: array[:, place : place + 1][0, 0] for number, place in places.items()}


def read_hounsfield(path: Path) -> np.ndarray:
    """The Hounsfield units (H, W), int16, of one of DeepLesion's pictures.

    Raises:
        ScanError: it is damaged, or no grey picture of 16 bits.
    """
    plane = read_plane(path)
    if plane.dtype != np.uint16:
        finding = f"is a picture of {plane.dtype} where 16 bits hold Hounsfield units plus {ZERO_HU}"
        raise ScanError(path, finding, AGAIN)
    return (plane ^ ZERO_HU).view(np.int16)  # the same as minus 32768, without a wider type in between


def write_series(folder: Path, name: str, array: np.ndarray, numbers: Sequence[int], **known: object) -> None:
    """Write a series so that it is there whole or not at all; an earlier one of that name is replaced.

    Args:
        folder: where to; made if need be.
        name: of the series, and of its files.
        array: (D, H, W) its slices; stored as int16 where that loses nothing, else as float32.
        numbers: (D,) of the slices, ascending.
        **known: what else its record is to hold, as json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / f"{name}.json"
    record.unlink(missing_ok=True)
    image = array[None].astype(np.int16 if fits_int16(array[None]) else np.float32, copy=False)
    write_array(folder / f"{name}.b2nd", image, chunk=(1, *image.shape[2:]), block=BLOCK)
    content = {"version": VERSION, "shape": list(image.shape), "numbers": [int(number) for number in numbers], **known}
    write_aside(record, lambda aside: aside.write_text(json.dumps(content), encoding="utf-8"))
