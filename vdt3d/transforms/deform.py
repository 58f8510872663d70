"""Rotation, zoom and elastic bending of training patches, all in one resampling."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional

from vdt3d.registry import TRANSFORMS
from vdt3d.structures import LabelMap, Sample
from vdt3d.transforms.base import Grid, SpatialTransform, coarse_axes, positive_range, probability, triple
from vdt3d.transforms.grid import cut


@TRANSFORMS.register_module()
class RandomSpatial3D(SpatialTransform):
    """Rotate, zoom and bend the content about the centre; each has its own chance, and with none nothing is resampled.

    This changes the anatomy, not the scanner: the grid stays, so the affine no longer tells where a voxel came from,
    and there is no way back (``undo`` raises). Images are interpolated trilinearly, labels take the nearest voxel.
    Angles and moves are true in millimetres. An axis whose spacing is three or more times the finest is only rotated
    about, never into another.

    Args:
        rotate: the largest angle in degrees about the axes (D, H, W), or one number for all three.
        in_slices: turn about D alone, and zoom and bend within H and W: for windows of a few slices.
        scale: the least and the greatest zoom, uniform on a logarithmic scale; above 1 things grow.
        elastic: how far control points move at most, along each axis, in voxels of the finest axis; the largest
            distance is drawn uniformly from 0 to this, then each point's move. Cubic B-splines (Rueckert et al. 1999)
            run between the points.
        elastic_step: the distance of the control points, in voxels of the finest axis.
        rotate_prob, scale_prob, elastic_prob: the chances.
        size: give back only the central box of so many voxels (D, H, W): cut a larger patch before, and what turns into
            view is anatomy instead of filling. Default: all.
        pad_value: of the image outside, as ``RandomPatch3D``'s; "min" is that of what is turned, not of what is given
            back. No test scan has such corners, so unlike ``RandomPatch3D``'s this has no value of inference to keep
            to: they look like the air about a patient, before and after normalisation. The label there is 0.

    Raises:
        ValueError: a chance or a range is none, or points so close move so far that space could fold
            (``elastic > 0.4 * elastic_step``, Choi and Lee 2000).
    """

    def __init__(
        self,
        *,
        rotate: float | Sequence[float] = 15,
        in_slices: bool = False,
        scale: tuple[float, float] = (0.8, 1.25),
        elastic: float = 0,
        elastic_step: float = 16,
        rotate_prob: float = 0.2,
        scale_prob: float = 0.2,
        elastic_prob: float = 0.2,
        size: int | Sequence[int] | None = None,
        pad_value: float | Literal["min"] = "min",
    ):
        self.rotate = np.broadcast_to(np.float64(rotate), 3).tolist()
        self.in_slices = in_slices
        self.scale = positive_range(scale, "scale")
        self.elastic, self.elastic_step = elastic, elastic_step
        if not 0 <= elastic <= 0.4 * elastic_step:
            raise ValueError(
                f"elastic must lie between 0 and 0.4 * elastic_step = {0.4 * elastic_step}, lest space folds; "
                f"got {elastic}"
            )
        self.rotate_prob, self.scale_prob = probability(rotate_prob), probability(scale_prob)
        self.elastic_prob = probability(elastic_prob)
        self.size, self.pad_value = None if size is None else triple(size), pad_value

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        coarse = {0} if self.in_slices else coarse_axes(sample.image.spacing)
        largest = [0 if coarse - {axis} else angle for axis, angle in enumerate(self.rotate)]
        angles = rng.uniform(-1, 1, size=3) * largest * (rng.random() < self.rotate_prob)
        zoom = np.exp(rng.uniform(*np.log(self.scale)) * (rng.random() < self.scale_prob))
        bend = rng.uniform(0, self.elastic) * (rng.random() < self.elastic_prob)
        # The seed stands for the control points: the history of a sample must not carry a volume.
        return {"angles": tuple(angles.tolist()), "zoom": float(zoom), "bend": bend, "seed": int(rng.integers(2**63))}

    def change(self, sample: Sample, drawn: dict[str, Any]) -> Sample:
        places = self._places(sample.image, **drawn)  # once for both
        label_map = None if sample.label_map is None else self._sampled(sample.label_map, places)
        return sample.replace(image=self._sampled(sample.image, places), label_map=label_map)

    def apply(self, volume: Grid, angles: tuple[float, ...], zoom: float, bend: float, seed: int) -> Grid:
        return self._sampled(volume, self._places(volume, angles, zoom, bend, seed))

    def _box(self, volume: Grid) -> tuple[np.ndarray, np.ndarray]:
        """First voxel and size of what is given back."""
        size = np.array(self.size or volume.shape)
        return np.array(volume.shape) // 2 - size // 2, size

    def _places(self, volume: Grid, angles: tuple[float, ...], zoom: float, bend: float, seed: int) -> Tensor | None:
        """(1, D, H, W, 3) where to look for each voxel, as ``grid_sample`` wants it; None if each is in its place."""
        if not any(angles) and zoom == 1 and bend == 0:
            return None
        corner, size = self._box(volume)
        spacing = np.array(volume.spacing)
        turn = Rotation.from_euler("XYZ", angles, degrees=True).as_matrix()  # of (z, y, x), in mm
        moving = np.array([not self.in_slices, True, True])
        step = turn * spacing / spacing[:, None] / np.where(moving, zoom, 1)  # column k: voxels to go for one along k
        middle = (size - 1) / 2
        # grid_sample counts from -1 to 1 between the outer faces of the outer voxels, and names x first.
        unit = 2 / np.array(volume.shape)
        start = (corner + middle - step @ middle + 0.5) * unit - 1
        along_D, along_H, along_W = (
            torch.from_numpy((np.arange(count)[:, None] * (step[:, axis] * unit))[:, ::-1].astype(np.float32))
            for axis, count in enumerate(size)
        )
        start_3 = torch.from_numpy(start[::-1].astype(np.float32))
        places_DHW3 = (along_D[:, None] + (along_H + start_3))[:, :, None] + along_W
        if bend:
            finest = spacing.min()
            reach = moving * bend * finest / spacing * unit
            places_DHW3 += self._bent(size, self.elastic_step * finest / spacing, reach[::-1], seed)
        return places_DHW3[None]

    @staticmethod
    def _bent(size: np.ndarray, step: np.ndarray, reach: np.ndarray, seed: int) -> Tensor:
        """(D, H, W, 3) B-splines over control points ``step`` voxels apart that move by up to ``reach`` (x, y, z)."""
        weights = [_spline_weights(count, distance) for count, distance in zip(size.tolist(), step, strict=True)]
        rng = np.random.default_rng(seed)
        points = rng.uniform(-reach, reach, size=(*(matrix.shape[1] for matrix in weights), 3))
        field = torch.from_numpy(points.astype(np.float32))
        for matrix in reversed(weights):  # axis by axis, the one done comes to the front
            field = torch.tensordot(matrix, field, ([1], [2]))
        return field

    def _sampled(self, volume: Grid, places: Tensor | None) -> Grid:
        label = isinstance(volume, LabelMap)
        box = cut(volume, *self._box(volume), fill=0 if label else self.pad_value)
        if places is None:
            return box
        array = np.asarray(volume.array)
        tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
        if label:
            sampled = functional.grid_sample(tensor[None], places, mode="nearest", align_corners=False)[0]
            return box.replace(array=sampled.numpy().astype(array.dtype))
        # Outside grid_sample knows only 0, so the filling is made the zero.
        fill = tensor.amin(dim=(1, 2, 3), keepdim=True) if self.pad_value == "min" else self.pad_value
        sampled = functional.grid_sample((tensor - fill)[None], places, mode="bilinear", align_corners=False)[0]
        return box.replace(array=sampled.add_(fill).numpy())


def _spline_weights(count: int, step: float) -> Tensor:
    """(count, points) what each voxel of an axis takes of control points ``step`` voxels apart: cubic B-splines."""
    place = np.arange(count) / step
    points = np.arange(-1, int(place[-1]) + 3)
    distance = np.abs(place[:, None] - points)
    near, far = 2 / 3 - distance**2 + distance**3 / 2, np.maximum(2 - distance, 0) ** 3 / 6
    return torch.from_numpy(np.where(distance < 1, near, far).astype(np.float32))
