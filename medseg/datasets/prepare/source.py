"""Source: what was found of a released data set, and what it becomes in the one layout."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from medseg.datasets.layouts import Case, Layout
from medseg.datasets.prepare.check import Read, read_files
from medseg.datasets.prepare.counts import Counts
from vdt3d.io import ScanError
from vdt3d.utils.files import visible


class Source(NamedTuple):
    """A data set before its preparation.

    Fields:
        layout: where its files are, channels and classes. A file that should be there and is not is named all the
            same: the check of its case reports it.
        description: the content of ``dataset.json`` but its lists of cases; None where its class reads other tables.
        root: the folder in which files keep their places; None where they get those of MSD's layout.
        image_reader, label_reader: options of ``read_volume`` and ``read_label_map`` that its format needs.
        tables: further files that belong to it, in ``root``.
        cached: whether its cases are worth a cache; small crops are not.
        read: how image and label map come out of the files of a case.
        counts: what was published of the release's slices and voxels, to tell whether it is this one.
    """

    layout: Layout
    description: dict[str, Any] | None
    root: Path | None = None
    image_reader: dict[str, Any] = {}
    label_reader: dict[str, Any] = {}
    tables: tuple[Path, ...] = ()
    cached: bool = True
    read: Read = read_files
    counts: Counts | None = None


def converted(
    name: str, channel: str, classes: tuple[str, ...], reference: str, labelled: list[Case], test: list[Case]
) -> Source:
    """A source of one channel that gets MSD's layout."""
    description = {
        "name": name,
        "reference": reference,
        "tensorImageSize": "3D",
        "modality": {"0": channel},
        "labels": {str(label): text for label, text in enumerate(classes)},
    }
    return Source(Layout((channel,), classes, {}, labelled, test), description)


def files_by_key(folder: Path, pattern: str) -> dict[str, Path]:
    """The files at any depth below ``folder`` whose whole name fits ``pattern``, by what its first bracket holds.

    Raises:
        ScanError: two files bear one name.
    """
    found: dict[str, Path] = {}
    for path in visible(folder.rglob("*")):
        match = re.fullmatch(pattern, path.name)
        if match is None or path.is_dir():
            continue  # a link without its target is kept, for the check of its case to name
        if match[1] in found:
            raise ScanError(path, f"is there twice, the other being {found[match[1]]}", "remove one of them")
        found[match[1]] = path
    return found


def shallowest(folder: Path, name: str) -> Path | None:
    """``folder``, or else the first folder one or two levels below, that holds ``name``."""
    depths = (folder.glob(f"{below}{name}") for below in ("", "*/", "*/*/"))
    return next((path.parent for paths in depths for path in visible(paths)), None)
