"""What every format is checked for, whatever library reads it; arrays are (C, D, H, W)."""

from pathlib import Path

import numpy as np

from vdt3d.structures import Volume, describe_grids

AGAIN = "copy or download it again"
FLOAT32 = 1e-6  # relative; by a little more than this, numbers in float32 are rounded
COMPANION = b"\0\x05\x16"  # AppleDouble, what macOS writes as ._NAME beside a file NAME


class ScanError(ValueError):
    """A file that cannot be trusted: which one, what was found, and what to do about it.

    Made of one argument, it is a message: so torch passes on what a data loader's worker raised.
    """

    def __init__(self, path: str | Path, *finding_and_remedy: str):
        super().__init__(path, *finding_and_remedy)

    def __str__(self) -> str:
        path, *rest = self.args
        return f"{path}: {'; '.join(rest)}" if rest else str(path)


def is_dangling(path: Path) -> bool:
    """Return whether a path is a link whose target is missing, as content that git-annex or DataLad has not fetched."""
    return path.is_symlink() and not path.exists()


def check_exists(path: Path) -> None:
    """Raise ScanError unless there is a file or folder; the message names the target of a dangling link."""
    if is_dangling(path):
        target = path.parent / path.readlink()
        raise ScanError(path, f"is a link to {target}, which does not exist", "fetch its content, or repair the link")
    if not path.exists():
        raise ScanError(path, "does not exist", "check the path")


class ScanWarning(UserWarning):
    """A doubt about a file that was resolved: which file, what was found, and how it was read."""


def check_content(path: Path) -> None:
    """Refuse an empty file and a web page that was saved in the scan's place."""
    with path.open("rb") as stream:
        head = stream.read(512).lstrip().lower()
    if path.stat().st_size == 0:
        raise ScanError(path, "is empty", AGAIN)
    if head.startswith(COMPANION):
        raise ScanError(
            path, "is no scan but a file that macOS wrote beside one", f"give {path.name.removeprefix('._')}"
        )
    if head.startswith((b"<!doctype html", b"<html", b"<?xml")):
        raise ScanError(
            path, "looks like a web page, not a scan", "the link needs a login or is gone: download it again"
        )


def check_numbers(path: Path, array: np.ndarray) -> None:
    """Refuse a scan without voxels, and voxels that are not one real number each."""
    if array.size == 0:
        raise ScanError(path, f"has no voxels (shape {array.shape})", AGAIN)
    if array.dtype.kind not in "biuf":
        kind = {"c": "complex", "V": "RGB or compound"}.get(array.dtype.kind, "not numeric")
        remedy = "save one real number per voxel (the magnitude, or each colour as a channel)"
        raise ScanError(path, f"its voxels are {kind} ({array.dtype})", remedy)


def check_channels(path: Path, array: np.ndarray, declared: int | None) -> None:
    """Refuse further axes that the caller did not declare: channels, frames, directions."""
    found = array.shape[0]
    if found != (declared or 1):
        finding = f"holds {found} channels or frames, where {declared or 1} was expected"
        remedies = {
            None: f"declare them: reader=dict(channels={found}) in a config, channels={found} in Python",
            1: "save one of them, or labels as one number per voxel",
        }
        several = f"put all {declared} into one file, on its fourth axis, or declare channels={found}"
        raise ScanError(path, finding, remedies.get(declared, several))


def check_affine(path: Path, affine: np.ndarray) -> None:
    """Refuse a geometry that places no voxel: NaN, infinite, or without extent along an axis."""
    if not np.isfinite(affine).all():
        raise ScanError(path, f"its affine is not finite: {affine.tolist()}", "repair the geometry in its header")
    if abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise ScanError(path, f"its affine is singular: {affine.tolist()}", "repair the geometry in its header")


def declaration(option: str, value: str) -> str:
    """Return where a user declares what a data set legitimately holds."""
    return f"--{option} {value} of prepare, reader=dict({option}='{value}') in a config, {option}='{value}' in Python"


def finite(path: Path, array: np.ndarray, nan: str) -> np.ndarray:
    """``array``, whose NaN and infinite voxels are an error or, by ``nan="zero"``, set to 0 in place."""
    good = np.isfinite(array)
    if good.all():
        return array
    if nan == "error":
        finding = f"{np.count_nonzero(~good)} of {array.size} voxels are NaN or infinite"
        raise ScanError(path, finding, "repair the file, or set them to 0: " + declaration("nan", "zero"))
    array[~good] = 0
    return array


def labels(path: Path, array: np.ndarray, step: float = 0.0) -> np.ndarray:
    """Return ``array`` as labels: integers keep their type, whole numbers in floats get the smallest that holds them.

    Args:
        path: of the file, for messages.
        array: (C, D, H, W).
        step: between the values that its voxels could be stored as; half of it is lost in rounding. Where it is above
            1/2, labels cannot be recovered, and must be whole numbers as they are.

    Raises:
        ScanError: a value is negative or no whole number.
    """
    if array.dtype.kind == "f":
        near, lost = np.rint(array), step / 2 if step <= 0.5 else 0.0
        with np.errstate(invalid="ignore"):  # of infinite voxels
            rounded = np.abs(array - near) <= lost + FLOAT32 * np.maximum(np.abs(array), 1)
        whole = (np.abs(array) < np.float32(2**31)) & rounded
        if not whole.all():  # NaN is wrong here too
            wrong = array[~whole]
            finding = f"{wrong.size} of {array.size} voxels are no whole numbers, such as {wrong[0]:.6g} (soft labels?)"
            raise ScanError(path, finding, "give the label map before interpolation, or threshold it first")
        array = near
    if array.min() < 0:
        raise ScanError(path, f"holds negative labels (down to {array.min()})", "number the classes from 0")
    dtype = np.min_scalar_type(int(array.max())) if array.dtype.kind == "f" else array.dtype.newbyteorder("=")
    return np.require(array, dtype, ["C", "W"])


def check_same_grid(path: str | Path, volume: Volume, other_path: str | Path, other: Volume) -> None:
    """Raise ScanError unless the two volumes lie on one grid; the message names both files."""
    if not volume.same_grid(other):
        ours, theirs = describe_grids(volume, other)
        finding = f"its grid, {ours}, is not that of {other_path}, {theirs}"
        raise ScanError(path, finding, "take the file that belongs to it, or resample one onto the other's grid")
