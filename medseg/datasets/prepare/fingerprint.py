"""The fingerprint of a data set: what its cases measure together, as a json one can read and edit."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from medseg.datasets.prepare.cases import PERCENTS, is_ct

_SIDES = ("left", "right")


def fingerprint(
    records: dict[str, dict[str, Any]],
    channels: tuple[str, ...],
    classes: tuple[str, ...],
    spacing: Sequence[float | None] | None,
) -> dict[str, Any]:
    """Pool what the cache remembers of each case.

    Args:
        records: of the cases, by name.
        channels, classes: the names of both.
        spacing: (z, y, x) in mm that the cases were resampled to, None for an axis that kept its spacing; None where
            nothing was resampled.

    Returns:
        A dict of

        - ``cases``: how many;
        - ``median_spacing`` (z, y, x) in mm and ``median_shape`` (D, H, W) of the scans in canonical orientation;
        - ``pipeline``: what was done to each case, as transforms of a config, for validation and test to repeat;
        - ``intensity``: per channel modality, percentiles, mean and standard deviation of the labelled voxels, every
          case counting the same; what ``FingerprintNormalize`` reads. Empty where nothing is labelled;
        - ``classes``: by name the label, in how many cases it is, its median volume in mm3 where it is, and its share
          of all voxels;
        - ``per_case``: the same of every case, and ``labelled_cut``: its labelled voxels outside the body, which the
          crop has taken away.
    """
    per_case = {name: _of_case(record, classes) for name, record in records.items()}
    measured = [record["extra"]["intensity"] for record in records.values() if record["extra"]["intensity"]]
    return {
        "cases": len(records),
        "median_spacing": _median([case["spacing"] for case in per_case.values()]),
        "median_shape": _median([case["shape"] for case in per_case.values()]),
        "pipeline": _pipeline(channels, spacing),
        "intensity": [
            {"modality": channel, **_pooled(of_cases)}
            for channel, of_cases in zip(channels, zip(*measured, strict=True), strict=bool(measured))
        ],
        "classes": {
            text: _of_class(label, text, list(per_case.values()), list(records.values()))
            for label, text in enumerate(classes)
        },
        "per_case": per_case,
    }


def _of_case(record: dict[str, Any], classes: tuple[str, ...]) -> dict[str, Any]:
    voxel = float(np.prod(record["spacing"]))
    volumes = {classes[int(label)]: n * voxel for label, n in record["voxels"].items() if int(label) < len(classes)}
    return {
        "shape": record["extra"]["scan"]["shape"],
        "spacing": record["extra"]["scan"]["spacing"],
        "labelled_cut": record["extra"]["labelled_cut"],
        "prepared_shape": record["shape"][1:],
        "prepared_spacing": record["spacing"],
        "intensity": [_pooled([channel]) for channel in record["extra"]["intensity"] or ()],
        "volumes_mm3": {text: _short(volume) for text, volume in volumes.items()},
    }


def _of_class(label: int, text: str, per_case: list[dict], records: list[dict]) -> dict[str, Any]:
    volumes = [case["volumes_mm3"][text] for case in per_case if text in case["volumes_mm3"]]
    voxels = sum(record["voxels"].get(str(label), 0) for record in records)
    return {
        "label": label,
        "cases": len(volumes),
        "median_volume_mm3": _short(np.median(volumes)) if volumes else None,
        "frequency": _short(voxels / sum(sum(record["voxels"].values()) for record in records)),
    }


def _pooled(of_cases: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the numbers of the mixture in which every case has the same weight.

    nnU-Net has the same definition: it samples equally many voxels of each case.
    """
    quantiles = np.array([case["quantiles"] for case in of_cases])
    low, middle, high = mixture_percentiles(quantiles, PERCENTS, (0.5, 50, 99.5))
    means, stds = (np.array([case[key] for case in of_cases]) for key in ("mean", "std"))
    mean = means.mean()
    numbers = {
        "percentile_00_5": low,
        "median": middle,
        "percentile_99_5": high,
        "mean": mean,
        "std": np.sqrt(np.mean(stds**2 + (means - mean) ** 2)),
    }
    return {key: _short(value) for key, value in numbers.items()}


def mixture_percentiles(quantiles: np.ndarray, percents: np.ndarray, wanted: Sequence[float]) -> np.ndarray:
    """Return percentiles of a mixture of distributions of equal weight, each known by its own percentiles.

    The distribution function of the mixture is the mean of theirs; between the known percentiles it is a straight line.

    Args:
        quantiles: (n, k) of each distribution, ascending.
        percents: (k,) at which they are known, from 0 to 100.
        wanted: percents of the mixture.

    Returns:
        (len(wanted),) their values.
    """
    values = np.unique(quantiles)
    below, reached = (np.mean([_share(row, percents, values, side) for row in quantiles], axis=0) for side in _SIDES)
    # Where a value fills a share of its own, the distribution function jumps from below to reached.
    shares, ends = np.stack([below, reached], 1).ravel(), values.repeat(2)
    # Where no case has values between two of them, the middle is taken, as numpy's median does.
    last, first = np.interp(wanted, shares, ends), -np.interp(np.negative(wanted), -shares[::-1], -ends[::-1])
    return (last + first) / 2


def _share(quantiles: np.ndarray, percents: np.ndarray, values: np.ndarray, side: str) -> np.ndarray:
    """Return the percents of one distribution below (``side='left'``) or up to (``'right'``) each value."""
    place = np.searchsorted(quantiles, values, side) - (side == "right")
    exact = quantiles[np.clip(place, 0, len(quantiles) - 1)] == values
    return np.where(exact, percents[np.clip(place, 0, len(percents) - 1)], np.interp(values, quantiles, percents))


def _pipeline(channels: tuple[str, ...], spacing: Sequence[float | None] | None) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = [{"type": "Reorient3D"}, {"type": "CropBody3D", "ct": is_ct(channels)}]
    if spacing is not None:
        steps.append({"type": "ResampleSpacing3D", "spacing": list(spacing)})
    return steps


def _median(rows: list[list[float]]) -> list[float]:
    return [_short(value) for value in np.median(rows, axis=0)]


def _short(value: float) -> float:
    """Six digits that count: more say nothing, and read worse."""
    return float(f"{float(value):.6g}")
