"""What a model answered of a case in a validation or test, whatever its kind, and the scan it was asked about."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vdt3d.structures import Volume
from vdt3d.transforms import undo

KINDS = {"pred_score": "classification", "pred_labels": "segmentation", "pred_boxes": "detection"}


def kind_of(sample: Any) -> str:
    """What was answered: 'classification', 'segmentation' or 'detection'.

    Raises:
        ValueError: something else.
    """
    for field, kind in KINDS.items():
        if field in sample:
            return kind
    raise ValueError(
        f"case '{name_of(sample)}': classes, labels and boxes can be shown; the model answered {sorted(sample.keys())}"
    )


def name_of(sample: Any) -> str:
    """How the case is called; of a picture the name of its file."""
    return str(sample.get("sample_name") or Path(sample.get("img_path", "")).stem)


def scan_of(image: Any, sample: Any) -> Volume:
    """What the network was fed, as a volume; what labels lie on, on the scan's own grid.

    Args:
        image: (C, D, H, W), array or tensor on the CPU; a picture (C, H, W) is one slice deep.
    """
    array = np.asarray(image)
    volume = Volume(array if array.ndim == 4 else array[:, None])
    if "grid" in sample:
        volume = volume.replace(affine=sample.grid[1])
    return undo(volume, sample) if "history" in sample else volume


def regions_of(metainfo: Mapping[str, Any]) -> dict[str, int | Sequence[int]]:
    """What is looked at in a label map, by name: the regions of a data set, else its classes but the background."""
    classes = metainfo.get("classes", ())
    return dict(metainfo.get("regions") or {name: label for label, name in enumerate(classes) if label > 0})
