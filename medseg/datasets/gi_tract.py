"""GITract: MR scans of the bowels with run-length masks, as the UW-Madison GI Tract challenge released them."""

import re
from functools import lru_cache
from pathlib import Path

from medseg.datasets.base import VolumeSegmentation
from medseg.datasets.layouts import Case, Layout
from medseg.io import RunLengths, read_masks
from medseg.io.masks import find_scans
from vdt3d.io import ScanError, SliceStack, open_slices
from vdt3d.registry import DATASETS
from vdt3d.structures import LabelMap, Volume, overlapping_classes, overlapping_regions

ORGANS = ("large_bowel", "small_bowel", "stomach")
TABLE = "train.csv"
MODALITY = ("MRI",)


@DATASETS.register_module()
class GITract(VolumeSegmentation):
    """Slices of MR scans with stomach and bowels, "UW-Madison GI Tract Image Segmentation", read as they were released.

    https://www.kaggle.com/competitions/uw-madison-gi-tract-image-segmentation

    A scan is a day of a case, ``case123_day20``; its group is the case. Scans that ``train.csv`` names are labelled,
    with 0 where its cells are empty; other folders of scans are test cases. Where organs overlap, a label is the sum
    of their bits (``vdt3d.structures.overlapping_classes``). Images are ``SliceStack``: slices are read as they are
    asked for, in their own 16-bit numbers.

    Args:
        data_root: folder of ``train.csv`` and ``train``. Of one that only holds scans, "all" and "test" are all of
            them, unlabelled, to be predicted.
        split_file: of case-days or cases; a file made by ``vdt3d split --by-day`` may split days of a case.
        reader: ``dict(thickness=...)`` in mm, where slices do not lie 3 mm apart.
        **kwargs: as ``VolumeSegmentation``.

    Raises:
        ScanError: folders and table do not fit: a folder of scans is no case-day, or is missing; a slice has no rows,
            or rows no slice; scans without a table are to be learnt from.
        ValueError: as ``VolumeSegmentation``.
    """

    METAINFO = {"classes": overlapping_classes(ORGANS), "modality": MODALITY, "regions": overlapping_regions(ORGANS)}
    group = r"^(case\d+)_day"

    def find_layout(self) -> Layout:
        """The scans, which are all labelled ones and all test cases where there is no table."""
        layout = find_case_days(self.data_root)
        if layout.labelled:
            return layout
        if self.split not in ("all", "test"):
            finding = f"is missing or names no scan, but split='{self.split}' is to be learnt from"
            raise ScanError(Path(self.data_root, TABLE), finding, "put it there, or predict the scans: split='all'")
        return layout._replace(labelled=layout.test)

    def filter_data(self) -> list[dict]:
        """Refuse missing folders and rows at the door rather than in the middle of an epoch."""
        super().filter_data()
        if self.cache is None:
            for case in self.data_list:
                image = open_slices(case["path"], **self.reader)
                if case["label"] is not None:
                    _check_rows(_masks(case["label"]), case["name"], image.array)
        return self.data_list

    def read_files(self, case: dict) -> tuple[Volume, LabelMap | None]:
        """The slices, unread, and what the table says of them."""
        return read_case_day(case["path"], case["label"], **self.reader)


def find_case_days(root: str | Path) -> Layout:
    """The scans of the challenge's tree, or of a part of it, in the order of cases and days; no slice is opened.

    Labelled are those that ``train.csv`` names, be their folder there or not; the other folders are test cases.

    Raises:
        ScanError: the table is damaged; as ``medseg.io.masks.find_scans``.
    """
    root, folders = Path(root), find_scans(root)
    table = root / TABLE
    named = _masks(table).cases if table.exists() else []
    home = {name: root / "train" / name.partition("_")[0] / name / "scans" for name in named}
    labelled = [Case(name, (folders.get(name, home[name]),), table) for name in sorted(home, key=_numbers)]
    test = [Case(name, (folders[name],)) for name in sorted(folders.keys() - home, key=_numbers)]
    return Layout(MODALITY, GITract.METAINFO["classes"], {}, labelled, test)


def read_case_day(scans: str | Path, table: str | Path | None = None, **reader) -> tuple[Volume, LabelMap | None]:
    """The slices of a scan, unread, and what ``table`` says of them.

    Args:
        scans: the folder of the slices, in that of the case-day.
        reader: options of ``vdt3d.io.open_slices``.

    Raises:
        ScanError: a slice or the table cannot be trusted, or a slice has no rows, or rows no slice.
    """
    image = open_slices(scans, **reader)
    if table is None:
        return image, None
    masks, name = _masks(table), Path(scans).parent.name
    _check_rows(masks, name, image.array)
    labels_DHW = masks.label_map(name, image.array.numbers, image.shape[1:])
    return image, LabelMap(labels_DHW[None], image.affine)


def _masks(table: str | Path) -> RunLengths:
    status = Path(table).stat()
    return _masks_of(str(table), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=2)
def _masks_of(table: str, size: int, changed: int) -> RunLengths:
    """One reading of a table does for all cases that a process reads."""
    return read_masks(table, ORGANS)


def _check_rows(masks: RunLengths, name: str, slices: SliceStack) -> None:
    named, there = set(masks.slice_numbers(name)), set(slices.numbers)
    if lacking := sorted(named - there):
        finding = f"names slices of {name} that are not in {slices.path}: {_listed(lacking)}"
        raise ScanError(masks.path, finding, "put them there, or remove their rows")
    if lacking := sorted(there - named):
        finding = f"has no rows for slices of {name} that are in {slices.path}: {_listed(lacking)}"
        raise ScanError(masks.path, finding, "add them, with empty cells where nothing is, or remove the slices")


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")


def _numbers(name: str) -> tuple[int, ...]:
    """Of case and day, so that case2 comes before case10."""
    return tuple(map(int, re.findall(r"[0-9]+", name)))
