"""LIDC-IDRI: the archive of nodule crops and its tables, which stay as they are and are checked."""

from pathlib import Path

from medseg.datasets.layouts import Case, Layout
from medseg.datasets.lidc import LIDCSegmentation
from medseg.datasets.prepare.source import Source, shallowest
from vdt3d.datasets.splits import read_table
from vdt3d.utils.files import visible

LOOKED_FOR = "the folder nodule of npz files, with the tables info/... and train_test_split.csv beside it"
INFO, SPLIT = Path("info", "lidc_nodule_info_new_with_subset.csv"), Path("train_test_split.csv")


def find(folder: Path) -> Source | None:
    """Cases lidc1_1 and so on: the crops that are there and those that the split names.

    Raises:
        ValueError: a table is missing or lacks a column.
    """
    root = shallowest(folder, "nodule")
    if root is None:
        return None
    read_table(root / INFO, {"index", "uid", "malignancy_mode"})
    split = read_table(root / SPLIT, {"train", "test"})
    listed = {name.removesuffix(".npz") for part in ("train", "test") for name in split[part].dropna()}
    files = {path.stem for path in visible(root.glob("nodule/*.npz"))}
    paths = [root / "nodule" / f"{name}.npz" for name in sorted(listed | files)]
    meta = LIDCSegmentation.METAINFO
    cases = [Case(path.stem, (path,), path) for path in paths]
    return Source(
        layout=Layout(meta["modality"], meta["classes"], {}, cases, []),
        description=None,
        root=root,
        image_reader=LIDCSegmentation.reader,
        label_reader=LIDCSegmentation.reader | {"key": "answer1"},
        tables=(root / INFO, root / SPLIT),
        cached=False,
    )
