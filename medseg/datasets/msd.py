"""The ten tasks of the Medical Segmentation Decathlon (Antonelli et al. 2022), http://medicaldecathlon.com."""

from pathlib import Path
from typing import NamedTuple

from medseg.datasets.base import VolumeSegmentation
from medseg.datasets.layouts import Layout
from vdt3d.io import ScanError
from vdt3d.registry import DATASETS


class Task(NamedTuple):
    """One task: its name, how many labelled cases were released, the channels of its images, and its classes."""

    name: str
    cases: int
    modality: tuple[str, ...]
    classes: tuple[str, ...]


CT, MRI = ("CT",), ("MRI",)
TASKS = {
    1: Task(
        "BrainTumour",
        484,
        ("FLAIR", "T1w", "T1gd", "T2w"),
        ("background", "oedema", "non-enhancing tumour", "enhancing tumour"),
    ),
    2: Task("Heart", 20, MRI, ("background", "left atrium")),
    3: Task("Liver", 131, CT, ("background", "liver", "tumour")),
    4: Task("Hippocampus", 260, MRI, ("background", "anterior", "posterior")),
    5: Task("Prostate", 32, ("T2", "ADC"), ("background", "peripheral zone", "transition zone")),
    6: Task("Lung", 63, CT, ("background", "tumour")),
    7: Task("Pancreas", 281, CT, ("background", "pancreas", "tumour")),
    8: Task("HepaticVessel", 303, CT, ("background", "vessel", "tumour")),
    9: Task("Spleen", 41, CT, ("background", "spleen")),
    10: Task("Colon", 126, CT, ("background", "primary tumour")),
}


@DATASETS.register_module()
class MSD(VolumeSegmentation):
    """A task of the Decathlon; ``data_root`` is its folder, such as Task04_Hippocampus.

    Args:
        task: 1 to 10; sets the names of classes and channels, and is compared with the folder.
        **kwargs: as ``VolumeSegmentation``.

    Raises:
        ValueError: no such task.
        ScanError: the folder has another number of channels or classes than the task.
    """

    def __init__(self, data_root: str | Path, *, task: int, **kwargs):
        if task not in TASKS:
            raise ValueError(f"task={task}: the Decathlon has the tasks 1 to 10")
        self.task = TASKS[task]
        super().__init__(data_root, metainfo={"classes": self.task.classes}, **kwargs)

    def find_layout(self) -> Layout:
        """The folder's layout, its channels under the task's names."""
        layout = super().find_layout()
        if len(layout.channels) != len(self.task.modality):
            finding = f"names the channels {layout.channels}; {self.task.name} has {self.task.modality}"
            raise ScanError(Path(self.data_root, "dataset.json"), finding, "check data_root and task")
        return layout._replace(channels=self.task.modality)
