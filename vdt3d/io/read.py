"""The one door for scans: a path in any format becomes a Volume, a LabelMap, or an error that says what to do."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from vdt3d.io.arrays import read_numpy
from vdt3d.io.checks import (
    ScanError,
    check_affine,
    check_channels,
    check_content,
    check_exists,
    check_numbers,
    check_same_grid,
    finite,
    labels,
)
from vdt3d.io.dicom import list_series, read_series
from vdt3d.io.dicom_headers import is_dicom, single_file_finding
from vdt3d.io.nifti import PAIR, read_nifti, value_step
from vdt3d.io.pictures import read_picture
from vdt3d.io.shear import upright
from vdt3d.io.sitk import read_sitk
from vdt3d.io.slices import SUFFIXES as PICTURES
from vdt3d.io.slices import pictures, read_slices
from vdt3d.structures import LabelMap, Volume


class Format(NamedTuple):
    """How files of some suffixes are read: to an array (C, z, y, x) as stored and its geometry.

    Fields:
        step: returns the step between the values that voxels can be stored as; without it, they are exact.
        read: returns the array and what ``Volume`` takes besides: the affine and, of NIfTI, the geometry as stored.
    """

    suffixes: tuple[str, ...]
    read: Callable[..., tuple[np.ndarray, *tuple[Any, ...]]]
    options: tuple[str, ...] = ()
    step: Callable[[Path], float] | None = None


FORMATS = (
    Format((".nii", ".nii.gz"), read_nifti, step=value_step),
    Format((".nrrd", ".nhdr", ".mha", ".mhd"), read_sitk),
    Format((".npy",), read_numpy, ("spacing",)),
    Format((".npz",), read_numpy, ("key", "spacing")),
    Format((".png", ".jpg", ".jpeg"), read_picture, ("spacing",)),
)
PAIRS = {".hdr", ".img"}  # header and voxels in a file each
DICOM_FOLDER = Format((), read_series, ("series",))
SLICE_FOLDER = Format((), read_slices, ("spacing", "thickness"))


def read_volume(
    path: str | Path,
    *,
    channels: int | None = None,
    shear: Literal["error", "resample"] = "error",
    nan: Literal["error", "zero"] = "error",
    key: str | None = None,
    spacing: tuple[float, float, float] | None = None,
    thickness: float | None = None,
    series: str | None = None,
) -> Volume:
    """Read an image as float32, on its own grid, in its own orientation.

    Args:
        path: .nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd, .npy, .npz, .png, .jpg, or a folder with a DICOM series or with
            pictures, one for each slice (``vdt3d.io.open_slices`` says how they are named).
        channels: declares how many channels or frames a further axis holds; undeclared, it is an error.
        shear: what happens where the axes are not at right angles.
        nan: what happens to NaN and infinite voxels.
        key: which array of an .npz.
        spacing: (z, y, x) in mm of formats that carry none (.npy, .npz, pictures); 1 mm where it is not given.
        thickness: mm from slice to slice of a folder of pictures whose names state the spacing within them.
        series: which series of a DICOM folder, by its UID; see ``list_series``.

    Raises:
        ScanError: the file cannot be trusted; the message names file, finding and remedy.
        ValueError: an unknown ``shear`` or ``nan``, or a spacing that is not positive.
    """
    _check_choice("shear", shear, ("error", "resample"))
    _check_choice("nan", nan, ("error", "zero"))
    path = Path(path)
    array, *geometry = _load(path, channels, key=key, spacing=spacing, thickness=thickness, series=series)
    array = finite(path, np.require(array, np.float32, ["C", "W"]), nan)
    return upright(path, Volume(array, *geometry), shear)


def read_image(paths: Sequence[str | Path], channels: int, **reader) -> Volume:
    """An image whose ``channels`` lie in one file, or in a file each; ``reader`` are options of ``read_volume``.

    Raises:
        ScanError: a file cannot be trusted, or lies on another grid than the first; the message names both.
    """
    declared = {"channels": channels} if len(paths) == 1 and channels > 1 else {}
    volumes = [read_volume(path, **declared, **reader) for path in paths]
    for path, volume in zip(paths, volumes, strict=True):
        check_same_grid(path, volume, paths[0], volumes[0])
    if len(volumes) == 1:
        return volumes[0]
    return volumes[0].replace(array=np.concatenate([volume.array for volume in volumes]))


def read_label_map(
    path: str | Path,
    *,
    shear: Literal["error", "resample"] = "error",
    key: str | None = None,
    spacing: tuple[float, float, float] | None = None,
) -> LabelMap:
    """Read labels (whole numbers from 0) in their stored integer type, on their own grid; see ``read_volume``.

    Raises:
        ScanError: the file cannot be trusted, or holds anything but labels.
        ValueError: an unknown ``shear``, or a spacing that is not positive.
    """
    _check_choice("shear", shear, ("error", "resample"))
    path = Path(path)
    array, *geometry = _load(path, 1, key=key, spacing=spacing)
    step = _format(path).step
    return upright(path, LabelMap(labels(path, array, step(path) if step else 0.0), *geometry), shear)


def fitting_options(path: str | Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Of the options by which a data set reads its own files, those that are of use for ``path``: a NIfTI has no arrays
    to choose from, and a spacing of its own.

    Raises:
        ScanError: there is no such file, or it is in no format we read.
    """
    form = _format(Path(path))
    of_some = {name for each in (*FORMATS, DICOM_FOLDER, SLICE_FOLDER) for name in each.options}
    return {name: value for name, value in options.items() if name in form.options or name not in of_some}


def _load(path: Path, channels: int | None, **options) -> tuple[np.ndarray, *tuple[Any, ...]]:
    form = _format(path)
    given = {name: value for name, value in options.items() if value is not None}
    if foreign := sorted(given.keys() - set(form.options)):
        raise ScanError(path, f"is of a format that knows no {', '.join(foreign)}", "leave that option out")
    array, affine, *stored = form.read(path, **given)
    check_numbers(path, array)
    check_channels(path, array, channels)
    check_affine(path, affine)
    return array, affine, *stored


def _format(path: Path) -> Format:
    if path.is_dir():
        _check_folder(path)
        return SLICE_FOLDER if pictures(path) and not list_series(path) else DICOM_FOLDER
    check_exists(path)
    check_content(path)
    for form in FORMATS:
        if path.name.lower().endswith(form.suffixes):
            return form
    if is_dicom(path):
        raise ScanError(path, *single_file_finding(path))
    if path.suffix.lower() in PAIRS:
        raise ScanError(path, "is one of the two files of an Analyze or NIfTI pair", PAIR)
    known = " ".join(suffix for form in FORMATS for suffix in form.suffixes)
    raise ScanError(path, f"has an unknown suffix '{path.suffix}'", f"give a DICOM folder or one of {known}")


def _check_folder(path: Path) -> None:
    """Refuse a folder whose files are of other formats than DICOM, and name these."""
    files = [file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")]
    suffixes = sorted({"".join(file.suffixes[-2:]) if file.suffix == ".gz" else file.suffix for file in files})
    known = {*PAIRS, *(suffix for form in FORMATS for suffix in form.suffixes)} - {*PICTURES}
    if files and known.issuperset(suffixes) and not any(is_dicom(file) for file in files):
        one_by_one = f"give the files themselves, or a pattern such as '{path.name}/*{suffixes[0]}'"
        remedy = PAIR if PAIRS.intersection(suffixes) else one_by_one
        raise ScanError(path, f"holds no DICOM slices but {len(files)} files of {', '.join(suffixes)}", remedy)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}={value!r} is unknown; choose one of {choices}")
