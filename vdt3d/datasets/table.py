"""VolumeClassification: your own volumes, in any format the readers know, with a csv table that says which is what."""

from pathlib import Path
from typing import Any

import pandas as pd

from vdt3d.datasets.base import VolumeDataset
from vdt3d.datasets.splits import deal_parts, in_split, read_table
from vdt3d.registry import DATASETS

MOST_CLASSES = 10_000  # numbers beyond are no class indices but something else, such as those of patients


@DATASETS.register_module()
class VolumeClassification(VolumeDataset):
    """Volumes (NIfTI, NRRD, MHA, npy, npz, a folder of one DICOM series) listed in a csv table with these columns.

    ``path``: relative to ``data_root``. ``target``, or ``label``: class name, or class index from 0. ``split``
    (optional): train, val or test. ``patient`` (optional): whose scan it is. Without ``split``, patients (without
    ``patient``: files) are dealt out, five sevenths, one and one, by a checksum of their names: always the same way.
    Blanks around a cell do not count.

    Args:
        data_root: folder of the volumes.
        table: the csv file, relative to ``data_root``.
        split: "train", "val", "trainval", "test" or "all".
        classes: names in the order of their indices; default: the table's, sorted.
        reader: options of ``vdt3d.io.read_volume``, such as ``dict(channels=4)`` or ``dict(nan="zero")``.

    Raises:
        ValueError: the table is missing, lacks a column or has a single class, a target or split in it is unknown, a
            volume is listed twice, or a patient is in more than one part.
    """

    def __init__(
        self,
        data_root: str | Path,
        *,
        table: str = "labels.csv",
        split: str = "train",
        classes: tuple[str, ...] | None = None,
        reader: dict[str, Any] | None = None,
        **kwargs,
    ):
        self.table, self.split, self.reader = Path(data_root, table), split, dict(reader or {})
        super().__init__(data_root, metainfo={"classes": tuple(classes or ())}, **kwargs)

    def load_data_list(self) -> list[dict]:
        """The rows of the split, in the order of the table."""
        columns = {"path", "target"}
        table = read_table(self.table, columns, aliases={"label": "target"}, dtype=str, skipinitialspace=True)
        table = table.apply(lambda column: column.str.strip()).replace("", None)
        gaps = table.filter(["path", "target", "split", "patient"]).isna().any()
        if gaps.any():
            raise ValueError(f"{self.table} has blank cells in {list(gaps.index[gaps])}; fill them or remove the rows")
        if (twice := table.path.duplicated()).any():
            raise ValueError(f"{self.table} lists {table.path[twice].iloc[0]} more than once; keep one of the rows")
        table["target"] = self._class_indices(table.target)
        if "split" not in table:
            table["split"] = deal_parts(table.get("patient", table.path), table.target)
        elif "patient" in table and (torn := table.groupby("patient").split.nunique() > 1).any():
            raise ValueError(
                f"{self.table}: patient {torn.idxmax()} is in two parts; correct the column 'split', or remove "
                "it to have patients dealt out"
            )
        rows = table[in_split(table.split, self.split, self.table)]
        groups = rows.patient if "patient" in rows else rows.path
        return [
            {"path": str(Path(self.data_root, path)), "name": path, "target": target, "group": group}
            for path, target, group in zip(rows.path, rows.target.tolist(), groups, strict=True)
        ]

    def _class_indices(self, targets: pd.Series) -> pd.Series:
        """(N,) class indices of targets written as names or as indices; settles the names of the classes."""
        numbered = targets.str.fullmatch(r"\d+").all()
        if numbered and (highest := max(map(int, targets))) >= MOST_CLASSES:
            raise ValueError(f"{self.table}: target {highest} is no class index; number classes from 0, or name them")
        found = [str(index) for index in range(highest + 1)] if numbered else sorted(set(targets))
        if targets.nunique() < 2 and not self._metainfo["classes"]:
            raise ValueError(
                f"{self.table}: all {len(targets)} rows have the target '{targets.iloc[0]}'; two classes or more are "
                "needed. Add cases of another class, or give classes=(...) to test on cases of one class"
            )
        names = self._metainfo["classes"] or tuple(found)
        index_of = {str(index) if numbered else name: index for index, name in enumerate(names)}
        if unknown := sorted(set(targets) - set(index_of)):
            raise ValueError(f"{self.table}: targets {unknown} are none of the classes {list(index_of)}")
        self._metainfo["classes"] = names
        return targets.map(index_of)
