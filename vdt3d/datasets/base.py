"""VolumeDataset: finds the files of a data set and reads one case at a time as a Sample; the pipeline does the rest."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from vdt3d.io import read_volume
from vdt3d.registry import TRANSFORMS
from vdt3d.structures import Sample


class VolumeDataset(BaseDataset):
    """Volumes with one class each.

    A subclass defines ``load_data_list``, which returns one dict per case with ``path``, ``name`` and ``target`` (class
    index) and, where several cases share a patient, ``group``, and names its classes in ``metainfo["classes"]``.

    Args:
        data_root: folder of the data.
        pipeline: transforms, or their configs, from ``Sample`` to what the data loader collates.
        **kwargs: what mmengine's ``BaseDataset`` knows besides, such as ``indices``.

    Raises:
        ValueError: the folder or a file is missing, or nothing is left to read.
    """

    METAINFO = {"classes": ()}
    reader: dict[str, Any] = {}  # options of read_volume

    def __init__(
        self,
        data_root: str | Path,
        *,
        pipeline: Sequence[dict | Callable] = (),
        **kwargs,
    ):
        super().__init__(data_root=str(data_root), pipeline=built(pipeline), **kwargs)

    def full_init(self) -> None:
        """Find the cases."""
        require_folder(self.data_root)
        super().full_init()

    def filter_data(self) -> list[dict]:
        """Refuse an empty list and missing files at the door rather than in the middle of an epoch."""
        if not self.data_list:
            raise ValueError(f"{type(self).__name__} finds no case in {self.data_root}; data/README.md shows its tree")
        missing = [path for path in dict.fromkeys(case["path"] for case in self.data_list) if not Path(path).exists()]
        if missing:
            raise ValueError(
                f"{type(self).__name__}: {len(missing)} files are missing, the first is {missing[0]}; "
                "check data_root and the table that lists it"
            )
        return self.data_list

    def read(self, case: dict) -> Sample:
        """Load one entry of the data list."""
        volume = read_volume(Path(case["path"]), **self.reader)
        return Sample(image=volume, target=case["target"], group=case.get("group", ""), name=case["name"])

    def prepare_data(self, idx: int) -> Any:
        """Read case ``idx`` and send it through the pipeline.

        Raises:
            ValueError: the pipeline returned None, for which mmengine would take another case without a word.
        """
        case = self.get_data_info(idx)
        return never_none(self.pipeline(self.read(case)), case["name"], self.pipeline)

    def targets(self) -> np.ndarray:
        """(N,) class index of every case, in order; reads no volume."""
        return np.array([self.get_data_info(index)["target"] for index in range(len(self))])


def built(pipeline: Sequence[dict | Callable]) -> list[Callable]:
    """The transforms of a pipeline, looked up in our registry whatever mmengine's default scope is."""
    return [TRANSFORMS.build(transform) if isinstance(transform, dict) else transform for transform in pipeline]


def never_none(data: Any, name: str, pipeline: Callable) -> Any:
    """``data`` unless it is None, which is a ValueError that names the case and the pipeline."""
    if data is None:
        raise ValueError(f"case '{name}': the pipeline returned None; remove the transform that drops it: {pipeline}")
    return data


def require_folder(folder: str | Path) -> None:
    """Raise ValueError unless ``folder`` exists."""
    if not Path(folder).is_dir():
        raise ValueError(f"there is no folder {folder}; put the data there (data/README.md) or change data_root")
