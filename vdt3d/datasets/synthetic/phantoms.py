"""CT phantoms: lung nodules, smooth or spiculated, and abdomens of ellipsoid organs, in Hounsfield units (HU).

Arrays are (D, H, W), spacing is (z, y, x) in mm, and coordinates are millimetres from the centre of the grid.
"""

import numpy as np
from scipy.ndimage import zoom

LUNG, VESSEL, NODULE = -830.0, -20.0, 20.0
# organ: HU, centre and semi-axes (z, y, x) in mm; x grows to the patient's right, y to the front, z to the head
ORGANS = {
    "spine": (350, (0, -75, 0), (400, 22, 24)),
    "liver": (110, (10, 15, 62), (75, 72, 68)),
    "spleen": (125, (15, -35, -88), (45, 38, 26)),
    "right kidney": (170, (-20, -62, 62), (48, 24, 26)),
    "left kidney": (170, (-12, -62, -58), (48, 24, 26)),
}
BODY_HU, BODY_AXES = -90, (400, 115, 150)


def draw_nodule(
    rng: np.random.Generator,
    spiculation: float,
    shape: tuple[int, int, int] = (64, 64, 64),
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> tuple[np.ndarray, np.ndarray]:
    """A nodule amid lung tissue and vessels.

    Args:
        rng: source of chance.
        spiculation: length of the nodule's spikes, from 0 (smooth) to 1 (about its own radius).
        shape: voxels.
        spacing: mm.

    Returns:
        (D, H, W) float32 HU, and (D, H, W) bool mask of the nodule.
    """
    place = _grid(shape, spacing)
    density = np.zeros(shape, np.float32)  # 0 lung, 1 soft tissue
    for _ in range(rng.integers(3, 8)):
        through, along = rng.uniform(-20, 20, 3), _directions(rng, 1)[0]
        away = place - through.astype(np.float32)
        distance = np.sqrt(np.maximum(_squared(away) - (away @ along) ** 2, 0))
        np.maximum(density, _soft(rng.uniform(0.8, 2.0) - distance), out=density)
    away = (place - rng.uniform(-2, 2, 3).astype(np.float32)) / rng.uniform(0.8, 1.2, 3).astype(np.float32)
    distance = np.sqrt(_squared(away))
    nodule = _soft(_surface(away / np.maximum(distance, 1e-3)[..., None], spiculation, rng) - distance)
    np.maximum(density, nodule, out=density)
    hu = LUNG + (NODULE - LUNG) * density + _texture(rng, shape) + rng.normal(0, 45, shape)
    return hu.astype(np.float32), nodule > 0.5


def draw_organs(
    rng: np.random.Generator,
    shape: tuple[int, int, int] = (32, 80, 96),
    spacing: tuple[float, float, float] = (5.0, 3.5, 3.5),
) -> tuple[np.ndarray, np.ndarray]:
    """An abdomen whose organs vary in place, size and density from case to case.

    Returns:
        (D, H, W) float32 HU, and (D, H, W) uint8 labels: 0 background, then 1, 2, ... in the order of ``ORGANS``.
    """
    place = _grid(shape, spacing)
    size = rng.uniform(0.9, 1.1)
    hu = np.where(_inside(place, np.zeros(3), size * np.array(BODY_AXES)), BODY_HU, -1000.0)
    labels = np.zeros(shape, np.uint8)
    for label, (organ_hu, centre, axes) in enumerate(ORGANS.values(), start=1):
        centre = size * (np.array(centre) + rng.uniform(-6, 6, 3))
        inside = _inside(place, centre, size * np.array(axes) * rng.uniform(0.85, 1.1, 3))
        hu[inside], labels[inside] = organ_hu + rng.normal(0, 8), label
    return (hu + rng.normal(0, 20, shape)).astype(np.float32), labels


def _grid(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> np.ndarray:
    """(D, H, W, 3) float32 coordinates (z, y, x) in mm."""
    axes = [(np.arange(n, dtype=np.float32) - (n - 1) / 2) * step for n, step in zip(shape, spacing, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def _soft(depth: np.ndarray) -> np.ndarray:
    """From 0 to 1 over about 2 mm around a surface, as the scanner blurs it; ``depth`` below the surface in mm."""
    return np.clip(depth / 2 + 0.5, 0, 1)


def _squared(vectors: np.ndarray) -> np.ndarray:
    """Squared lengths along the last axis; on three components einsum is several times as fast as a sum."""
    return np.einsum("...i,...i", vectors, vectors)


def _directions(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 3) float32 unit vectors, all directions equally likely."""
    vectors = rng.normal(size=(count, 3)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _surface(towards: np.ndarray, spiculation: float, rng: np.random.Generator) -> np.ndarray:
    """(D, H, W) distance in mm of the nodule's surface from its centre, in the direction (D, H, W, 3) of each voxel."""
    radius = rng.uniform(5, 9)
    lobes = 0.12 * (towards @ _directions(rng, 4).T).clip(0) ** 2 @ rng.uniform(0, 1, 4).astype(np.float32)
    cosine = np.tensordot(_directions(rng, 24), towards, axes=(1, -1)).max(axis=0)  # to the nearest spike
    spikes = np.exp(60 * (cosine - 1))
    return radius * (1 + lobes + spiculation * spikes)


def _texture(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """(D, H, W) smooth variation of about 50 HU: coarse noise, enlarged."""
    coarse = rng.normal(0, 80, [-(-n // 8) for n in shape])
    return zoom(coarse, [n / m for n, m in zip(shape, coarse.shape, strict=True)], order=1)


def _inside(place: np.ndarray, centre: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """(D, H, W) whether each voxel lies in an ellipsoid."""
    return _squared((place - centre) / axes) <= 1
