"""What every case is checked for before it is trusted; arrays are (C, D, H, W)."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import pandas as pd

from medseg.datasets.layouts import Case
from vdt3d.io import ScanError, check_same_grid, read_image, read_label_map
from vdt3d.structures import IGNORED, LabelMap, Sample, Volume, describe_grids


class Rules(NamedTuple):
    """How the cases of a data set are read, and what they may hold.

    Fields:
        channels, classes: the names of both.
        image_reader, label_reader: options of ``read_volume`` and ``read_label_map``.
        label_geometry: what happens where a label map has the shape of its image but lies elsewhere: "error", or
            "image": it is taken voxel for voxel to where the image lies.
    """

    channels: tuple[str, ...]
    classes: tuple[str, ...]
    image_reader: dict[str, Any]
    label_reader: dict[str, Any]
    label_geometry: Literal["error", "image"] = "error"


# Image and, where the case has one, label map.
Read = Callable[[Case, Rules], tuple[Volume, LabelMap | None]]


def read_files(case: Case, rules: Rules) -> tuple[Volume, LabelMap | None]:
    """Of a case whose image and label map are files of their own."""
    image = read_image(case.images, len(rules.channels), **rules.image_reader)
    return image, None if case.label is None else read_label_map(case.label, **rules.label_reader)


def read_checked(case: Case, rules: Rules, *, labelled: bool, read: Read = read_files) -> tuple[Sample, bool]:
    """Read image and, where the case has one, label map; and whether the label map had to be moved to its image.

    Raises:
        ScanError: a file is missing, cannot be trusted or does not fit the others; a channel has no content; the case
            should be ``labelled`` and is not; the label map holds labels that are no class.
    """
    if labelled and case.label is None:
        raise ScanError(case.images[0], "is there to learn from, but has no label map", "add it, or take the case out")
    for path in filter(None, (*case.images, case.label)):
        if not path.exists():
            raise ScanError(path, f"is missing, a file of case '{case.name}'", "put it there, or take the case out")
    image, label_map = read(case, rules)
    _check_content(case, image, rules)
    if label_map is None:
        return Sample(image, name=case.name), False
    moved = label_map.shape == image.shape and not image.same_grid(label_map)
    if moved:
        if rules.label_geometry == "error":
            ours, theirs = describe_grids(label_map, image)
            finding = f"has the shape of {case.images[0]}, but lies elsewhere: {ours}, not {theirs}"
            remedy = "repair its header or, if both overlay voxel for voxel, prepare with --label-geometry image"
            raise ScanError(case.label, finding, remedy)
        label_map = label_map.on_grid_of(image)
    check_same_grid(case.label, label_map, case.images[0], image)
    found = set(pd.unique(label_map.array.ravel()).tolist())  # by hash: numpy.unique sorts every voxel
    if unknown := sorted(found - set(range(len(rules.classes))) - {IGNORED}):
        finding = f"holds the labels {unknown}, but there are {len(rules.classes)} classes {rules.classes}"
        raise ScanError(case.label, finding, f"correct it, or add the classes; {IGNORED} marks what nobody knows")
    return Sample(image, label_map, name=case.name), moved


def _check_content(case: Case, image: Volume, rules: Rules) -> None:
    files = case.images * image.channels if len(case.images) == 1 else case.images
    for path, channel, values_DHW in zip(files, rules.channels, image.array, strict=True):
        if (low := values_DHW.min()) == values_DHW.max():
            finding = f"is empty: every voxel of channel '{channel}' is {low:g}"
            raise ScanError(path, finding, "get it from its source again, or take the case out")
