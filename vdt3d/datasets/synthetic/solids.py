"""Scans of solids of equal volume and brightness, of which a network can learn to find one kind; arrays (D, H, W)."""

from collections.abc import Sequence

import numpy as np

KINDS = ("cube", "ball", "rod")
GAP = 4  # voxels at least between two solids


def draw_solids(
    rng: np.random.Generator,
    kinds: Sequence[str],
    *,
    side: int = 32,
    edge: tuple[int, int] = (7, 9),
    noise: float = 0.2,
) -> tuple[np.ndarray, np.ndarray]:
    """Solids at random places that do not touch, all of as many voxels as a cube of an edge drawn for the scan.

    Args:
        rng: source of chance.
        kinds: of each solid: "cube", "ball", or "rod", which is three times as long as thick.
        side: voxels along each axis.
        edge: the shortest and the longest edge of the cube.
        noise: standard deviation, where solids are 1 and what is about them 0.

    Returns:
        (D, H, W) float32 values, and (D, H, W) uint8 labels: 1, 2, ... in the order of ``kinds``, 0 about them.

    Raises:
        ValueError: an unknown kind, or solids for which there is no room.
    """
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise ValueError(f"there are no solids {unknown}; choose of {', '.join(KINDS)}")
    length = int(rng.integers(edge[0], edge[1] + 1))
    solids = [_solid(rng, kind, length) for kind in kinds]
    for _ in range(1000):
        labels = np.zeros((side,) * 3, np.uint8)
        boxes: list[np.ndarray] = []
        for label, solid in enumerate(solids, start=1):
            room = np.array(labels.shape) - solid.shape - 2
            if room.min() < 0:
                break
            low = 1 + rng.integers(0, room + 1)
            box = np.stack([low, low + solid.shape])
            if any(((box[0] < other[1] + GAP) & (other[0] < box[1] + GAP)).all() for other in boxes):
                break
            boxes.append(box)
            labels[tuple(map(slice, *box))][solid] = label
        else:
            return ((labels > 0) + rng.normal(0, noise, labels.shape)).astype(np.float32), labels
    raise ValueError(f"{len(kinds)} solids of {length} voxels do not fit into a scan of {side}")


def _solid(rng: np.random.Generator, kind: str, edge: int) -> np.ndarray:
    """(d, h, w) bool, edge ** 3 voxels of a box about them."""
    reach = edge + edge // 4 + 2  # half the length of a rod, and a little more
    place = np.stack(np.meshgrid(*[np.arange(2 * reach + 1) - reach] * 3, indexing="ij")).astype(float)
    place += rng.uniform(-0.5, 0.5, 3).reshape(3, 1, 1, 1)
    if kind == "cube":
        return np.ones((edge,) * 3, bool)
    if kind == "rod":
        place[rng.integers(3)] /= 3
    distance = (np.abs(place).max(0) if kind == "rod" else np.linalg.norm(place, axis=0)).ravel()
    solid = np.zeros(distance.shape, bool)
    solid[np.argsort(distance, kind="stable")[: edge**3]] = True  # the nearest voxels, so many and no more
    solid = solid.reshape(place.shape[1:])
    box = [np.flatnonzero(solid.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    return solid[tuple(slice(at[0], at[-1] + 1) for at in box)]
