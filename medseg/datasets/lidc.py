"""LIDC-IDRI nodule crops with their masks, in the format and with the split of the published release."""

from pathlib import Path

import pandas as pd

from medseg.datasets.base import VolumeSegmentation, palette, placed, read_labels
from medseg.datasets.splits import assign_parts
from vdt3d.datasets import LIDCClassification
from vdt3d.datasets.lidc import published_lists
from vdt3d.datasets.splits import FOLDS, deal_parts, in_split, read_table
from vdt3d.io import read_volume
from vdt3d.registry import DATASETS
from vdt3d.structures import Sample
from vdt3d.utils.files import visible


@DATASETS.register_module()
class LIDCSegmentation(LIDCClassification):
    """Crops as ``LIDCClassification`` reads them, the undecided nodules too, with a mask for each.

    The published split names 2,142 nodules for training and 491 for its test, 35 of those more than once in its list;
    "trainval" is the published training set, "val" a seventh of its patients.

    Args:
        data_root: folder of the crops' folder and of the tables.
        folder: folder of the crops.
        label_key: the mask's array in NAME.npz, whose image is ``voxel``.
        whole_scans: put the mask into ``Sample.reference`` instead of ``label_map``.
        **kwargs: as ``LIDCClassification``. Where ``split_file`` is a json of case lists
            (``medseg.datasets.splits``), no table is needed: other crops in this format, each counted as a patient.

    Raises:
        ValueError: a table or list is missing, or does not fit the crops.
    """

    METAINFO = {"classes": ("background", "nodule"), "palette": palette(2), "modality": ("CT",), "regions": {}}
    targets = VolumeSegmentation.targets

    def __init__(
        self,
        data_root: str | Path,
        *,
        folder: str = "nodule",
        label_key: str = "answer1",
        whole_scans: bool = False,
        **kwargs,
    ):
        self.folder, self.label_key, self.whole_scans = Path(data_root, folder), label_key, whole_scans
        super().__init__(data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """The nodules of the split, in the order of the nodule table; without one, in that of their names."""
        if self.split_file.suffix == ".json":
            names = [path.stem for path in visible(self.folder.glob("*.npz"))]
            patients = pd.Series(names, index=names)
            parts = assign_parts(names, names, split_file=self.split_file, fold=self.fold, folds=FOLDS)
            source = self.split_file
        else:
            patients = read_table(self.nodule_table, {"index", "uid"}).set_index("index").uid
            parts = self._deal(patients)
            source = self.nodule_table
        named = parts.dropna()
        return [
            {"path": str(self.folder / f"{name}.npz"), "name": name, "group": patients[name]}
            for name in named.index[in_split(named, self.split, source)]
        ]

    def _deal(self, patients: pd.Series) -> pd.Series:
        """(N,) part of each nodule, by patient or as published; a nodule that the release leaves out has none."""
        parts = deal_parts(patients, pd.Series(0, index=patients.index), self.fold)
        if self.by == "patient":
            return parts
        train, test = published_lists(self.split_file, self.nodule_table, patients.index)
        parts[parts == "test"] = "train"
        parts[parts.index.isin(test)] = "test"
        return parts.where(parts.index.isin(train | test))

    def read(self, case: dict) -> Sample:
        """The crop (1, D, H, W) and its mask, of voxels of 1 mm."""
        image = read_volume(case["path"], **self.reader)
        labels = self.reader | {"key": self.label_key}
        mask = read_labels(case["path"], image, case["path"], self.metainfo["classes"], **labels)
        return Sample(image=image, group=case["group"], name=case["name"], **placed(mask, self.whole_scans))
