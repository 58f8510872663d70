"""Folders of grey pictures, one for each slice, as volumes of which single slices are read; arrays are (C, D, H, W)."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vdt3d.io.checks import ScanError, check_exists
from vdt3d.io.lazy import ArrayInFiles
from vdt3d.io.pictures import read_picture
from vdt3d.structures import Volume, affine_from_spacing

SUFFIXES = (".png", ".jpg", ".jpeg")
# slice_0001_360_310_1.50_1.50: number, width, height, spacing along x and y in mm (UW-Madison GI Tract challenge)
CHALLENGE = re.compile(r"(?:.*_)?slice_(\d+)_(\d+)_(\d+)_(\d+(?:\.\d+)?)_(\d+(?:\.\d+)?)", re.ASCII)
NUMBER = re.compile(r"[0-9]+")


class SliceName(NamedTuple):
    """What the name of a slice says: its number and, in the challenge's form, (H, W) and the spacing (y, x) in mm."""

    number: int
    size: tuple[int, int] | None = None
    spacing: tuple[float, float] | None = None


def slice_name(path: str | Path) -> SliceName:
    """The parts of a name of the challenge's form; of any other, its last whole number.

    Raises:
        ScanError: there is no number in it, or a size or spacing of 0.
    """
    path = Path(path)
    if match := CHALLENGE.fullmatch(path.stem):
        number, width, height = map(int, match.groups()[:3])
        x, y = map(float, match.groups()[3:])
        if min(width, height, x, y) == 0:
            raise ScanError(path, "its name states a size or a spacing of 0", "give it the true ones")
        return SliceName(number, (height, width), (y, x))
    numbers = NUMBER.findall(path.stem)
    if not numbers:
        raise ScanError(path, "has no number in its name", "number the slices, or move it out of the folder")
    return SliceName(int(numbers[-1]))


def find_slices(folder: str | Path, pattern: str = "*.png") -> list[Path]:
    """The files that match ``pattern`` in the order of their numbers; hidden ones are passed over.

    Raises:
        ScanError: there are none, one has no number, or two have the same.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ScanError(folder, "is not a folder", "give the one that holds the slices")
    found: dict[int, Path] = {}
    for path in sorted(folder.glob(pattern)):
        if path.name.startswith(".") or path.is_dir():
            continue
        check_exists(path)
        number = slice_name(path).number
        if number in found:
            finding = f"{found[number].name} and {path.name} are both slice {number}"
            raise ScanError(folder, finding, "remove one of them, or put it into a folder of its own")
        found[number] = path
    if not found:
        raise ScanError(folder, f"holds no slices '{pattern}'", "check the path, or name them by the pattern")
    return [found[number] for number in sorted(found)]


def check_gaps(folder: Path, numbers: Sequence[int]) -> None:
    """Raise ScanError where a slice is missing between others; ``numbers`` ascend."""
    gaps = [(low + 1, high - 1) for low, high in pairwise(numbers) if high > low + 1]
    if gaps:
        missing = ", ".join(str(low) if low == high else f"{low} to {high}" for low, high in gaps)
        finding = f"of slices {numbers[0]} to {numbers[-1]} it lacks {missing}"
        raise ScanError(folder, finding, "fetch them again, or number slices that follow one another so")


class SliceStack(ArrayInFiles):
    """The slices in a folder as an array (1, D, H, W), of which pictures are opened as they are asked for.

    Values are of the pictures' own type; no picture is opened but those that an index takes along D. Only folder and
    pattern travel to other processes. To know shape and type the first picture is opened; the others are checked when
    their turn comes.

    Attributes:
        numbers: of the slices, in order.
        spacing: (y, x) in mm, where the names state it.

    Raises:
        ScanError: as ``find_slices``; a slice is missing between two others; names state different sizes or spacings;
            a picture is damaged, no grey one, of another size than its name states or of another size or type than
            the first.
    """

    def __init__(self, folder: str | Path, pattern: str = "*.png"):
        self.path, self.pattern = Path(folder), pattern
        self._files = find_slices(folder, pattern)
        names = [slice_name(path) for path in self._files]
        self._check_names(names)
        self.numbers = tuple(name.number for name in names)
        self.spacing = names[0].spacing
        first = read_plane(self._files[0])
        self.shape, self.dtype = (1, len(names), *first.shape), first.dtype

    def _read(self, slices: tuple[slice, ...]) -> np.ndarray:
        channels, depth, *plane = slices
        files = self._files[depth]
        size = [len(range(*part.indices(length))) for part, length in zip(plane, self.shape[2:], strict=True)]
        array = np.empty((1, len(files), *size), self.dtype)
        for place, file in zip(array[0], files, strict=True):
            place[...] = self._fitting(file)[tuple(plane)]
        return array[channels]

    def __reduce__(self) -> tuple:
        return SliceStack, (self.path, self.pattern)

    def _check_names(self, names: list[SliceName]) -> None:
        for file, name in zip(self._files, names, strict=True):
            if name[1:] != names[0][1:]:
                finding = f"{self._files[0].name} and {file.name} state different sizes or spacings"
                raise ScanError(self.path, finding, "put the slices of other scans into folders of their own")
        check_gaps(self.path, [name.number for name in names])

    def _fitting(self, file: Path) -> np.ndarray:
        plane = read_plane(file)
        if (plane.shape, plane.dtype) != (self.shape[2:], self.dtype):
            finding = (
                f"is a picture of {_size(plane.shape)} {plane.dtype}, {self._files[0].name} one of "
                f"{_size(self.shape[2:])} {self.dtype}"
            )
            raise ScanError(file, finding, "put the slices of other scans into folders of their own")
        return plane


def open_slices(
    folder: str | Path,
    *,
    spacing: tuple[float, float, float] | None = None,
    thickness: float = 3.0,
    pattern: str = "*.png",
) -> Volume:
    """The slices in a folder as a volume whose array is a ``SliceStack``: a part of it is read as it is looked at.

    Args:
        folder: with one grey picture for each slice, named as in the UW-Madison GI Tract challenge
            (``slice_0001_360_310_1.50_1.50.png``: number, width, height, spacing along x and y in mm) or in any other
            way whose last whole number is the slice's (``img_12.png``). Numbers may begin anywhere.
        spacing: (z, y, x) in mm, where names do not state it; 1 mm where it is not given.
        thickness: mm from slice to slice, where names state the spacing within them.
        pattern: which files are slices.

    Raises:
        ScanError: as ``SliceStack``, or ``spacing`` is given where the names state it.
        ValueError: a spacing that is not positive.
    """
    stack = SliceStack(folder, pattern)
    if stack.spacing is None:
        return Volume(stack, affine_from_spacing((1.0, 1.0, 1.0) if spacing is None else spacing))
    if spacing is not None:
        y, x = stack.spacing
        raise ScanError(stack.path, f"its names state a spacing of {y} x {x} mm (y, x)", "leave spacing out")
    return Volume(stack, affine_from_spacing((thickness, *stack.spacing)))


def read_slices(folder: Path, **spacings) -> tuple[np.ndarray, np.ndarray]:
    """All pixels (1, z, y, x) of the slices in a folder, as stored, and the affine; ``spacings`` are ``open_slices``'s.

    Raises:
        ScanError: as ``open_slices``, or there are pictures of several suffixes.
    """
    suffixes = sorted({path.suffix for path in pictures(folder)})
    if len(suffixes) > 1:
        raise ScanError(folder, f"holds pictures of several kinds ({', '.join(suffixes)})", "keep those of one kind")
    volume = open_slices(folder, **spacings, pattern=f"*{''.join(suffixes)}")
    return np.asarray(volume.array), volume.affine


def pictures(folder: Path) -> list[Path]:
    """The pictures in a folder, whatever they are called."""
    return [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]


def read_plane(path: Path) -> np.ndarray:
    """The pixels (H, W) of a grey picture, as stored.

    Raises:
        ScanError: it is damaged, no grey one, or of another size than its name states.
    """
    array_C1HW, _ = read_picture(path)
    if len(array_C1HW) != 1:
        raise ScanError(path, f"is a picture of {len(array_C1HW)} colours", "save the slices as grey pictures")
    plane_HW, stated = array_C1HW[0, 0], slice_name(path).size
    if stated not in (None, plane_HW.shape):
        finding = f"is {_size(plane_HW.shape)} pixels, where its name states {_size(stated)}"
        raise ScanError(path, finding, "names state width before height: rename it, or fetch it again")
    return plane_HW


def _size(shape: tuple[int, int]) -> str:
    """(H, W) as people and names have it: width first."""
    height, width = shape
    return f"{width} x {height}"
