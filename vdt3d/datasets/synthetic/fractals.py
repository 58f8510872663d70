"""Coloured fractal pictures by iterated function systems: pre-training data without a download, one class per system.

Sources: the chaos game (Barnsley, "Fractals Everywhere", 1988); systems as classes (Kataoka et al., "Pre-training
without Natural Images", 2020); drawing them by singular values (Anderson and Farrell, "Improving Fractal Pre-training",
2022); colour by map and brightness by the density's logarithm (Draves, "The Fractal Flame Algorithm", 2003).
"""

import colorsys
from pathlib import Path

import numpy as np
from PIL import Image

from vdt3d.datasets.pictures import ImageFolder
from vdt3d.datasets.synthetic.folder import made_once
from vdt3d.registry import DATASETS

STEPS, BURN_IN = 24, 12
JITTER = 0.08  # how far a picture's maps stray from its class's, relative to each coefficient
MIN_FILL = 0.3  # share of a small picture that a system must cover to become a class


def draw_system(rng: np.random.Generator) -> np.ndarray:
    """(N, 2, 3) two to five contracting affine maps of the plane whose attractor is more than dust."""
    while True:
        count = int(rng.integers(2, 6))
        large = rng.uniform(0.3, 0.95, count)
        small = large * rng.uniform(0.3, 1.0, count)
        # the band of Anderson and Farrell, section 3.2, whose systems are neither sparse nor blurred
        if not (5 + count) / 2 <= (large + 2 * small).sum() <= (6 + count) / 2:
            continue
        stretch = np.stack([large, small * rng.choice([-1, 1], count)], axis=1)
        turn_in, turn_out = _rotations(rng.uniform(0, 2 * np.pi, (2, count)))
        maps = np.concatenate([turn_out * stretch[:, None] @ turn_in, rng.uniform(-1, 1, (count, 2, 1))], axis=2)
        points, paint = chaos_game(maps, np.ones((count, 3)), 256, rng)
        if (splat(points, paint, 32)[0] > 0).mean() >= MIN_FILL:
            return maps


def chaos_game(
    maps: np.ndarray, colours: np.ndarray, walkers: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Let ``walkers`` points jump by randomly chosen maps, each taking on half of the map's colour at every jump.

    Args:
        maps: (N, 2, 3) affine maps.
        colours: (N, 3) in 0 to 1.

    Returns:
        (walkers * STEPS, 2) places and (walkers * STEPS, 3) colours, float32.
    """
    area = np.abs(np.linalg.det(maps[:, :, :2])) + 0.02
    choices = rng.choice(len(maps), (BURN_IN + STEPS, walkers), p=area / area.sum())
    maps, colours = maps.astype(np.float32), colours.astype(np.float32)
    place, paint = np.zeros((walkers, 2), np.float32), np.full((walkers, 3), 0.5, np.float32)
    places, paints = [], []
    for chosen in choices:
        a = maps[chosen]
        place = a[:, :, 0] * place[:, :1] + a[:, :, 1] * place[:, 1:] + a[:, :, 2]
        paint = (paint + colours[chosen]) / 2
        places.append(place)
        paints.append(paint)
    return np.concatenate(places[BURN_IN:]), np.concatenate(paints[BURN_IN:])


def splat(places: np.ndarray, paints: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Count points per pixel, the middle 98 % of them filling the picture.

    Returns:
        (size, size) brightness in 0 to 1, logarithmic in the count, and (size, size, 3) mean colour.
    """
    low, high = np.percentile(places, [1, 99], axis=0)
    scale = 0.88 * size / max((high - low).max(), 1e-6)
    column, row = np.floor((places - (low + high) / 2) * scale + size / 2).astype(int).T
    seen = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    pixel, paints = (row * size + column)[seen], paints[seen]
    count = np.bincount(pixel, minlength=size * size)
    colour = [np.bincount(pixel, paint, size * size) / np.maximum(count, 1) for paint in paints.T]
    brightness = np.log1p(count) / np.log1p(count.max())
    return brightness.clip(0, 1).reshape(size, size), np.stack(colour, axis=1).reshape(size, size, 3)


def draw_picture(maps: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size, 3) uint8 picture of a class: its maps jittered and turned a little, in colours of the picture's own.

    The maps' hues keep their distances and are turned together, so that no class is known by its colour alone.
    """
    count = len(maps)
    maps = maps * (1 + rng.uniform(-JITTER, JITTER, maps.shape))
    hues = (np.arange(count) / count * 0.6 + rng.uniform()) % 1
    colours = np.array([colorsys.hsv_to_rgb(hue, 0.9, 1.0) for hue in hues])
    places, paints = chaos_game(maps, colours, size * size // 2, rng)
    places = places @ _rotations(rng.uniform(-0.4, 0.4)).astype(np.float32).T
    brightness, colour = splat(places, paints, size)
    ends = np.array([colorsys.hsv_to_rgb(rng.uniform(), 0.5, value) for value in rng.uniform(0.02, 0.3, 2)])
    slope = np.linspace(0, 1, size)[:, None, None]
    ground = np.broadcast_to(ends[0] * (1 - slope) + ends[1] * slope, colour.shape)
    brightness = brightness[..., None]
    colour += (1 - colour) * 0.6 * brightness**3  # the densest places glow
    cover = brightness**0.7
    return np.round(255 * (ground * (1 - cover) + colour * cover)).astype(np.uint8)


def write_fractals(
    folder: str | Path, *, classes: int = 10, per_class: int = 100, size: int = 64, seed: int = 0
) -> Path:
    """Make JPEG class folders, ``folder``/train/CLASS and a fifth as many pictures in ``folder``/val/CLASS, once.

    Raises:
        ValueError: ``folder`` exists and holds something else.
    """

    def fill(aside: Path) -> None:
        for number in range(classes):
            maps = draw_system(np.random.default_rng((seed, number)))
            for part, count in enumerate((per_class, max(per_class // 5, 1))):
                home = aside / ("train", "val")[part] / f"fractal_{number:03d}"
                home.mkdir(parents=True)
                for index in range(count):
                    picture = draw_picture(maps, size, np.random.default_rng((seed, number, part, index)))
                    Image.fromarray(picture).save(home / f"{index:05d}.jpg", quality=92)

    wanted = {"maker": "write_fractals", "classes": classes, "per_class": per_class, "size": size, "seed": seed}
    return made_once(Path(folder), wanted, fill)


def _rotations(angles: np.ndarray | float) -> np.ndarray:
    """(..., 2, 2) rotation matrices for angles in radians."""
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=-2)


@DATASETS.register_module()
class FractalPictures(ImageFolder):
    """Fractal pictures that make themselves: see ``write_fractals``.

    Args:
        data_root: folder to make them in, unless they are there.
        split: "train" or "val".
        make: other arguments of ``write_fractals``.
        **kwargs: as ``ImageFolder``.
    """

    def __init__(self, data_root: str | Path, *, split: str = "train", make: dict | None = None, **kwargs):
        super().__init__(write_fractals(data_root, **(make or {})) / split, **kwargs)
