"""UW-Madison GI Tract: folders of slices with run lengths in a table, which stay as they are and are cached."""

from pathlib import Path

import numpy as np

from medseg.datasets.gi_tract import TABLE, find_case_days, read_case_day
from medseg.datasets.layouts import Case
from medseg.datasets.prepare.check import Rules
from medseg.datasets.prepare.source import Source, shallowest
from vdt3d.structures import LabelMap, Volume

LOOKED_FOR = "train.csv with train/case123/case123_day20/scans/slice_0001_266_266_1.50_1.50.png beside it, and so on"


def find(folder: Path) -> Source | None:
    """Cases case123_day20 and so on: those that train.csv names, and as test cases the other folders of scans.

    Raises:
        ScanError: the table is damaged, or a folder of scans has no such name.
    """
    root = shallowest(folder, TABLE)
    if root is None:
        return None
    tables = tuple(path for path in (root / TABLE, root / "sample_submission.csv") if path.exists())
    return Source(find_case_days(root), None, root, tables=tables, read=_read)


def _read(case: Case, rules: Rules) -> tuple[Volume, LabelMap | None]:
    """Whole; what ``rules`` declare of NaN and oblique axes, slices do not have."""
    image, label_map = read_case_day(case.images[0], case.label)
    return image.replace(array=np.asarray(image.array)), label_map
