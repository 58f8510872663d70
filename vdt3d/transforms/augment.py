"""Random changes of values, as float32, drawn for each channel by itself; label maps are never handed to them."""

from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from vdt3d.registry import TRANSFORMS
from vdt3d.structures import Sample, Volume
from vdt3d.transforms.base import IntensityTransform, coarse_axes, per_channel, positive_range, probability
from vdt3d.transforms.grid import nearest, trilinear


class _Chance(IntensityTransform):
    """Changes the image with chance ``prob``: subclasses say what they draw then and what they do with it."""

    def __init__(self, prob: float):
        self.prob = probability(prob)

    def numbers(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        raise NotImplementedError(f"{type(self).__name__} must define numbers")

    def changed(self, array_CDHW: np.ndarray, **numbers) -> np.ndarray:
        """A new float32 array; ``array_CDHW``, float32 too, stays as it is."""
        raise NotImplementedError(f"{type(self).__name__} must define changed")

    def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        numbers = self.numbers(sample, rng)
        return numbers if rng.random() < self.prob else {}

    def apply(self, volume: Volume, **numbers) -> Volume:
        array = np.asarray(volume.array, dtype=np.float32)
        return volume.replace(array=self.changed(array, **numbers) if numbers else array)


@TRANSFORMS.register_module()
class RandomGaussianNoise(_Chance):
    """Add Gaussian noise whose standard deviation is uniform in [0, ``std``], with chance ``prob``."""

    def __init__(self, std: float, *, prob: float = 1.0):
        super().__init__(prob)
        self.std = std

    def numbers(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        # The seed stands for the noise: the history of a sample must not carry a volume.
        return {"std": rng.uniform(0, self.std), "seed": int(rng.integers(2**63))}

    def changed(self, array_CDHW: np.ndarray, std: float, seed: int) -> np.ndarray:
        noise = np.random.default_rng(seed).standard_normal(array_CDHW.shape, dtype=np.float32)
        noise *= np.float32(std)
        noise += array_CDHW
        return noise


@TRANSFORMS.register_module()
class RandomScaleShift(_Chance):
    """Brightness: ``value * scale + shift``, both uniform in their ranges (low, high), with chance ``prob``.

    ``scale=(0, 1), shift=(0, 0)`` is MedMNIST's augmentation of shapes (adrenal, vessel). With ``together``, all
    channels get the same numbers.
    """

    def __init__(
        self,
        scale: tuple[float, float] = (0.9, 1.1),
        shift: tuple[float, float] = (-0.1, 0.1),
        *,
        together: bool = False,
        prob: float = 1.0,
    ):
        super().__init__(prob)
        self.scale, self.shift, self.together = scale, shift, together

    def numbers(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        channels = 1 if self.together else sample.image.channels
        return {"scale": _uniform(rng, self.scale, channels), "shift": _uniform(rng, self.shift, channels)}

    def changed(self, array_CDHW: np.ndarray, scale: tuple[float, ...], shift: tuple[float, ...]) -> np.ndarray:
        return array_CDHW * per_channel(scale) + per_channel(shift)


@TRANSFORMS.register_module()
class RandomContrast3D(_Chance):
    """Multiply the distance from the channel's mean by a factor uniform in ``factor``, with chance ``prob``.

    Args:
        factor: the least and the greatest.
        keep_range: clip to the least and greatest value there were.
        prob: chance to change the image.

    Raises:
        ValueError: the factors are not positive and in order.
    """

    def __init__(self, factor: tuple[float, float] = (0.75, 1.25), *, keep_range: bool = True, prob: float = 0.15):
        super().__init__(prob)
        self.factor, self.keep_range = positive_range(factor, "factor"), keep_range

    def numbers(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        return {"factor": _uniform(rng, self.factor, sample.image.channels)}

    def changed(self, array_CDHW: np.ndarray, factor: tuple[float, ...]) -> np.ndarray:
        mean_C111 = array_CDHW.mean(axis=(1, 2, 3), keepdims=True)
        result = array_CDHW - mean_C111
        result *= per_channel(factor)
        result += mean_C111
        if self.keep_range:
            low_C111, high_C111 = (end(axis=(1, 2, 3), keepdims=True) for end in (array_CDHW.min, array_CDHW.max))
            result.clip(low_C111, high_C111, out=result)
        return result


@TRANSFORMS.register_module()
class RandomGamma3D(_Chance):
    """Bend the scale of values: ``x ** gamma`` with the channel's range as 0..1, its mean and spread kept.

    Gamma is uniform on a logarithmic scale, so that darkening and brightening balance.

    Args:
        gamma: the least and the greatest.
        invert_prob: chance to bend the scale of the negative: to stretch the bright end instead of the dark one.
        prob: chance to change the image.

    Raises:
        ValueError: the gammas are not positive and in order.
    """

    def __init__(self, gamma: tuple[float, float] = (0.7, 1.5), *, invert_prob: float = 0.25, prob: float = 0.3):
        super().__init__(prob)
        self.gamma, self.invert_prob = positive_range(gamma, "gamma"), probability(invert_prob)

    def numbers(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        exponents = np.exp(_uniform(rng, np.log(self.gamma), sample.image.channels))
        return {"gamma": tuple(exponents.tolist()), "invert": bool(rng.random() < self.invert_prob)}

    def changed(self, array_CDHW: np.ndarray, gamma: tuple[float, ...], invert: bool) -> np.ndarray:
        result = -array_CDHW if invert else array_CDHW.copy()
        for values_DHW, exponent in zip(result, gamma, strict=True):
            mean, std = values_DHW.mean(), values_DHW.std()
            values_DHW -= values_DHW.min()
            span = values_DHW.max()
            if span > 0:
                values_DHW /= span
                np.power(values_DHW, np.float32(exponent), out=values_DHW)
                values_DHW -= values_DHW.mean()
                values_DHW *= std / values_DHW.std()
                values_DHW += mean
            else:  # flat
                values_DHW += mean
        return np.negative(result, out=result) if invert else result


@TRANSFORMS.register_module()
class RandomBlur3D(_Chance):
    """Smooth with a Gaussian whose standard deviation is uniform in ``sigma`` (voxels), with chance ``prob``.

    Raises:
        ValueError: the sigmas are not positive and in order.
    """

    def __init__(self, sigma: tuple[float, float] = (0.5, 1.0), *, prob: float = 0.2):
        super().__init__(prob)
        self.sigma = positive_range(sigma, "sigma")

    def numbers(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        return {"sigma": _uniform(rng, self.sigma, sample.image.channels)}

    def changed(self, array_CDHW: np.ndarray, sigma: tuple[float, ...]) -> np.ndarray:
        result = np.empty_like(array_CDHW)
        for values_DHW, spread, out_DHW in zip(array_CDHW, sigma, result, strict=True):
            gaussian_filter(values_DHW, spread, output=out_DHW, mode="nearest", truncate=3)
        return result


@TRANSFORMS.register_module()
class RandomLowResolution3D(_Chance):
    """As if scanned more coarsely: pick the nearest of ``zoom`` times as many voxels, and interpolate them back.

    Axes whose spacing is three or more times the finest are coarse as they are and left alone.

    Args:
        zoom: the least and the greatest factor, at most 1.
        prob: chance to change the image.

    Raises:
        ValueError: the factors are not in order between 0 and 1.
    """

    def __init__(self, zoom: tuple[float, float] = (0.5, 1.0), *, prob: float = 0.25):
        super().__init__(prob)
        self.zoom = positive_range(zoom, "zoom")
        if self.zoom[1] > 1:
            raise ValueError(f"zoom lies between 0 and 1, got {zoom!r}")

    def numbers(self, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
        coarse = coarse_axes(sample.image.spacing)
        return {
            "sizes": tuple(
                tuple(
                    side if axis in coarse else max(1, round(side * zoom))
                    for axis, side in enumerate(sample.image.shape)
                )
                for zoom in _uniform(rng, self.zoom, sample.image.channels)
            )
        }

    def changed(self, array_CDHW: np.ndarray, sizes: tuple[tuple[int, ...], ...]) -> np.ndarray:
        channels = zip(array_CDHW[:, None], sizes, strict=True)
        return np.concatenate([trilinear(nearest(array, size), array.shape[1:]) for array, size in channels])


def _uniform(rng: np.random.Generator, ends: tuple[float, float], channels: int) -> tuple[float, ...]:
    """A number for each channel."""
    return tuple(rng.uniform(*ends, size=channels).tolist())
