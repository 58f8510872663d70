"""Transforms that change values, as float32; they are never handed a label map."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vdt3d.registry import TRANSFORMS
from vdt3d.structures import Sample, Volume
from vdt3d.transforms.base import IntensityTransform


@TRANSFORMS.register_module()
class Normalize3D(IntensityTransform):
    """``(value - mean) / std``, with one number each, or one per channel.

    Raises:
        ValueError: ``std`` is not positive; or (on use) there are neither one nor as many numbers as channels.
    """

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]):
        self.mean, self.std = np.atleast_1d(np.float32(mean)), np.atleast_1d(np.float32(std))
        if not (self.std > 0).all():
            raise ValueError(f"std must be positive, got {std}")

    def apply(self, volume: Volume) -> Volume:
        if not {len(self.mean), len(self.std)} <= {1, volume.channels}:
            raise ValueError(
                f"{len(self.mean)} means and {len(self.std)} stds do not fit a volume of {volume.channels} channels: "
                "give one number, or one per channel"
            )
        mean_C111, std_C111 = (numbers.reshape(-1, 1, 1, 1) for numbers in (self.mean, self.std))
        return volume.replace(array=(volume.array.astype(np.float32) - mean_C111) / std_C111)


@TRANSFORMS.register_module()
class Window(IntensityTransform):
    """Clip to a window in Hounsfield units and scale it to 0..1.

    Raises:
        ValueError: ``width`` is not positive.
    """

    def __init__(self, center: float, width: float):
        if not width > 0:
            raise ValueError(f"width must be positive, got {width}")
        self.low, self.width = center - width / 2, width

    def apply(self, volume: Volume) -> Volume:
        return volume.replace(array=((volume.array.astype(np.float32) - self.low) / self.width).clip(0, 1))


@TRANSFORMS.register_module()
class ZScore(IntensityTransform):
    """Give each channel of the case mean 0 and standard deviation 1.

    Args:
        floor: the least standard deviation to divide by, in the units of the image: what is flatter counts as flat.
    """

    def __init__(self, floor: float = 1e-3):
        if not floor > 0:
            raise ValueError(f"floor must be positive, got {floor}")
        self.floor = floor

    def apply(self, volume: Volume) -> Volume:
        array = volume.array.astype(np.float32)
        mean_C111, std_C111 = (moment(axis=(1, 2, 3), keepdims=True) for moment in (array.mean, array.std))
        return volume.replace(array=(array - mean_C111) / np.maximum(std_C111, self.floor))


@TRANSFORMS.register_module()
class RandomGaussianNoise(IntensityTransform):
    """Add Gaussian noise whose standard deviation is uniform in [0, ``std``]."""

    def __init__(self, std: float):
        self.std = std

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        # The seed stands for the noise: the history of a sample must not carry a volume.
        return {"std": rng.uniform(0, self.std), "seed": int(rng.integers(2**63))}

    def apply(self, volume: Volume, std: float, seed: int) -> Volume:
        noise = np.random.default_rng(seed).standard_normal(volume.array.shape, dtype=np.float32)
        return volume.replace(array=volume.array.astype(np.float32) + np.float32(std) * noise)


@TRANSFORMS.register_module()
class RandomScaleShift(IntensityTransform):
    """``value * scale + shift``, both uniform in their ranges (low, high).

    ``scale=(0, 1), shift=(0, 0)`` is MedMNIST's augmentation of shapes (adrenal, vessel).
    """

    def __init__(self, scale: tuple[float, float] = (0.9, 1.1), shift: tuple[float, float] = (-0.1, 0.1)):
        self.scale, self.shift = scale, shift

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        return {"scale": rng.uniform(*self.scale), "shift": rng.uniform(*self.shift)}

    def apply(self, volume: Volume, scale: float, shift: float) -> Volume:
        return volume.replace(array=volume.array.astype(np.float32) * np.float32(scale) + np.float32(shift))
