"""Grids whose axes are not at right angles (gantry tilt, hand-made affines): found, refused or resampled."""

from pathlib import Path
from typing import TypeVar

import numpy as np
from scipy import ndimage

from vdt3d.io.checks import ScanError, declaration
from vdt3d.structures import LabelMap, Volume

Grid = TypeVar("Grid", Volume, LabelMap)
TOLERANCE = 1e-3  # cosine between two axes; rounded headers stay below, half a voxel is lost over 500


def upright(path: Path, volume: Grid, shear: str) -> Grid:
    """``volume``, whose sheared axes are an error or, by ``shear="resample"``, brought to right angles.

    Raises:
        ScanError: the axes are sheared and ``shear`` is "error".
    """
    cosine = shear_of(volume.affine)
    if cosine <= TOLERANCE:
        return volume
    if shear == "error":
        finding = f"its axes are sheared by {np.degrees(np.arcsin(min(cosine, 1))):.2f} degrees"
        remedy = f"repair its affine or, of a tilted gantry, resample: {declaration('shear', 'resample')}"
        raise ScanError(path, finding, remedy)
    return straighten(volume)


def shear_of(affine: np.ndarray) -> float:
    """Return the largest cosine between two axes of an affine (4, 4): 0 where all are at right angles."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.abs(axes.T @ axes - np.eye(3)).max())


def straighten(volume: Grid) -> Grid:
    """Resample to the smallest grid at right angles that holds the whole volume.

    Axes x and the plane of x and y stay (QR decomposition), so slices stay slices, moved within their plane, and
    their distance is measured across. Images are interpolated linearly and filled with their minimum; labels take the
    nearest voxel and are filled with 0.
    """
    turned, upper = np.linalg.qr(volume.affine[:3, :3][:, ::-1])  # columns x, y, z
    affine = np.eye(4)
    affine[:3, :3] = (turned * np.diag(upper))[:, ::-1]  # lengths with their signs, back to z, y, x
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in volume.shape], [1], indexing="ij")).reshape(4, -1)
    reach = np.linalg.solve(affine, volume.affine @ corners)[:3].round(6)  # in voxels of the new grid
    first = np.floor(reach.min(axis=1))
    shape = tuple((np.ceil(reach.max(axis=1)) - first + 1).astype(int))
    affine[:3, 3] = (affine @ [*first, 1])[:3]
    to_old = np.linalg.solve(volume.affine, affine)
    is_label = isinstance(volume, LabelMap)
    array = np.empty((volume.channels, *shape), volume.array.dtype)
    for old, new in zip(volume.array, array, strict=True):
        ndimage.affine_transform(
            old, to_old, output=new, output_shape=shape, order=0 if is_label else 1, cval=0 if is_label else old.min()
        )
    return volume.replace(array=array, affine=affine)
