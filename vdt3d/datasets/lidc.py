"""LIDC-IDRI nodule crops, benign against malignant, in the format and with the label rule of the published release."""

from pathlib import Path

import pandas as pd

from vdt3d.datasets.base import VolumeDataset
from vdt3d.datasets.splits import FOLDS, deal_parts, in_split, read_table
from vdt3d.registry import DATASETS

LABEL_OF_MODE = {1: 0, 2: 0, 4: 1, 5: 1}  # malignancy_mode to class; 3 is undecided, 0 was rated by nobody


@DATASETS.register_module()
class LIDCClassification(VolumeDataset):
    """Crops of 1 mm voxels: ``voxel`` in ``data_root``/nodule/NAME.npz, 0 to 255 for -1024 to 400 Hounsfield units.

    A nodule is benign (0) if most readers rated its malignancy 1 or 2, malignant (1) for 4 or 5, and left out for 3.
    The table's own ``malignancy_mode`` is used, since how it breaks ties cannot be recomputed.

    Args:
        data_root: folder that holds ``nodule``.
        split: "train", "val", "trainval", "test" or "all"; "trainval" is the published training set of 1,323 nodules.
        by: "published" takes the release's split by nodule, whose test part shares 268 patients with the training part;
            "patient" deals patients out anew. Either way "val" is a seventh of the patients, none of them in "train".
        fold: 0 to 6; which seventh of the patients is "test" (by patient), the next seventh being "val".
        nodule_table: csv of the nodules, relative to ``data_root``.
        split_file: csv with columns ``train`` and ``test``, relative to ``data_root``; needed for ``by="published"``.

    Raises:
        ValueError: a table is missing or lacks a column, the split names unknown nodules, or a choice is unknown.
    """

    METAINFO = {"classes": ("benign", "malignant")}
    reader = {"key": "voxel", "spacing": (1.0, 1.0, 1.0)}

    def __init__(
        self,
        data_root: str | Path,
        *,
        split: str = "train",
        by: str = "published",
        fold: int = 0,
        nodule_table: str = "info/lidc_nodule_info_new_with_subset.csv",
        split_file: str = "train_test_split.csv",
        **kwargs,
    ):
        if by not in ("published", "patient") or fold not in range(FOLDS):
            raise ValueError(f"by='{by}', fold={fold}: by is 'published' or 'patient', fold from 0 to {FOLDS - 1}")
        self.split, self.by, self.fold = split, by, fold
        self.nodule_table, self.split_file = Path(data_root, nodule_table), Path(data_root, split_file)
        super().__init__(data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """The decided nodules of the split, in the order of the nodule table."""
        table = read_table(self.nodule_table, {"index", "uid", "malignancy_mode"}).set_index("index")
        if (twice := table.index.duplicated()).any():
            raise ValueError(f"{self.nodule_table} lists {table.index[twice][0]} more than once; keep one of the rows")
        decided = table[table.malignancy_mode.isin(LABEL_OF_MODE)]
        targets = decided.malignancy_mode.map(LABEL_OF_MODE)
        parts = deal_parts(decided.uid, targets, self.fold)
        if self.by == "published":
            train, test = published_lists(self.split_file, self.nodule_table, table.index)
            to_test = pd.Series("test", index=decided.index[decided.index.isin(test)])
            parts = pd.concat([parts[decided.index.isin(train)].replace("test", "train"), to_test])
        folder = Path(self.data_root, "nodule")
        names = parts.index[in_split(parts, self.split, self.nodule_table)]
        return [
            {
                "path": str(folder / f"{name}.npz"),
                "name": name,
                "target": int(targets[name]),
                "group": decided.uid[name],
            }
            for name in names
        ]


def published_lists(split_file: Path, nodule_table: Path, known: pd.Index) -> tuple[set[str], set[str]]:
    """The names of nodules in the columns ``train`` and ``test``, each once (``test`` repeats 35 of them).

    Raises:
        ValueError: the file is missing or lacks a column, or a name is in both columns or not among the ``known``
            ones of ``nodule_table``.
    """
    lists = read_table(split_file, {"train", "test"}, dtype=str)
    train, test = ({name.removesuffix(".npz") for name in lists[part].dropna()} for part in ("train", "test"))
    if train & test:
        raise ValueError(f"{split_file}: {min(train & test)} is in both train and test")
    if unknown := (train | test) - set(known):
        raise ValueError(f"{split_file} names nodules that {nodule_table} lacks, such as {min(unknown)}")
    return train, test
