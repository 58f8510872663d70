"""NumPy files: .npy, and one array of an .npz; no code runs from them (allow_pickle=False). Arrays are (C, D, H, W)."""

from pathlib import Path

import numpy as np

from vdt3d.io.checks import AGAIN, ScanError
from vdt3d.structures import affine_from_spacing


def read_numpy(
    path: Path, key: str | None = None, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (C, z, y, x) from an array (z, y, x) or (C, z, y, x), and the axis-aligned affine of ``spacing``.

    Args:
        key: which array of an .npz; not needed where it holds one.
        spacing: (z, y, x) in mm, which these files do not carry.

    Raises:
        ScanError: the file is damaged, holds objects instead of numbers, or has no array ``key``.
    """
    try:
        with path.open("rb") as stream:
            content = np.load(stream, allow_pickle=False)
            array = content if isinstance(content, np.ndarray) else content[_chosen(path, content.files, key)]
    except ScanError:
        raise
    except Exception as error:  # NumPy answers damaged files with a dozen kinds, TokenError among them
        raise ScanError(
            path, f"holds no plain array or is damaged ({error})", f"save numbers only, or {AGAIN}"
        ) from error
    if array.ndim not in (3, 4):
        raise ScanError(path, f"holds an array of shape {array.shape}", "save it as (z, y, x) or (channels, z, y, x)")
    return array if array.ndim == 4 else array[None], affine_from_spacing(spacing)


def _chosen(path: Path, names: list[str], key: str | None) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if key not in names:
        raise ScanError(
            path,
            f"holds the arrays {names}, not {key!r}",
            "choose one with key=, as the data set's reader=dict(key=...) does",
        )
    return key
