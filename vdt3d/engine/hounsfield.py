"""From what the network was fed back to Hounsfield units, for the windows in which a CT is looked at."""

from typing import Any

import numpy as np

from vdt3d.structures import Volume
from vdt3d.transforms import IntensityTransform, Window
from vdt3d.transforms.base import Transform

AIR = -500.0  # what lies below it is air in Hounsfield units: values of other scans begin at 0 or are centred about it
PROBE = np.arange(-1100, 3101, dtype=np.float32)  # Hounsfield units


def hounsfield_of(scan: Volume, sample: Any, dataset: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Values (n,) of a scan, rising, and the Hounsfield units they stand for; None of what is no CT, or not known.

    What the pipeline did to the values, it is asked to do to every Hounsfield unit; read backwards, that is the way
    back. What it clipped stays clipped.
    """
    steps = _normalisations(sample, dataset)
    modality = (dataset.metainfo.get("modality") or ("",))[0]
    probe = Volume(np.broadcast_to(PROBE, (scan.channels, 1, 1, len(PROBE))))
    for transform, drawn in steps:
        probe = transform.apply(probe, **drawn)
    given = np.asarray(probe.array[0, 0, 0])
    rising = np.flatnonzero(np.diff(given) > 0)
    if not len(rising):
        return None
    rising = np.append(rising, rising[-1] + 1)  # from the last that is clipped below to the first above
    scale = given[rising], PROBE[rising]
    is_ct = modality == "CT" or any(isinstance(step, Window) for step, _ in steps)
    has_air = not modality and np.interp(float(scan.array[0].min()), *scale) < AIR
    return scale if is_ct or has_air else None


def _normalisations(sample: Any, dataset: Any) -> list[tuple[Transform, dict[str, Any]]]:
    """What was done to the values, where that is known: by the sample, or by a pipeline that draws nothing."""
    if "history" in sample:
        return [(step, drawn) for step, drawn in sample.history if isinstance(step, IntensityTransform)]
    while hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    steps = getattr(getattr(dataset, "pipeline", None), "transforms", ())
    steps = [step for step in steps if isinstance(step, IntensityTransform)]
    return [(step, {}) for step in steps] if all(type(step).draw is Transform.draw for step in steps) else []
