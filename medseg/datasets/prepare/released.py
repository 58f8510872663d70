"""Data sets that come in MSD's layout or nnU-Net's, which our classes read: their files keep their places."""

from pathlib import Path

from medseg.datasets.layouts import read_layout
from medseg.datasets.prepare.source import Source, shallowest
from vdt3d.io import ScanError
from vdt3d.utils.files import read_json

LOOKED_FOR = "dataset.json, as MSD's tasks or nnU-Net's raw folders have it"


def find(folder: Path) -> Source | None:
    """The cases of ``dataset.json``.

    Raises:
        ScanError: it is of neither layout, or names a file outside its folder.
    """
    root = shallowest(folder, "dataset.json")
    if root is None:
        return None
    layout, path = read_layout(root), root / "dataset.json"
    for case in (*layout.labelled, *layout.test):
        for file in filter(None, (*case.images, case.label)):
            if not file.is_relative_to(root) or ".." in file.relative_to(root).parts:
                raise ScanError(path, f"names {file}, outside its folder", "put the file there, and name it so")
    return Source(layout, read_json(path), root)
