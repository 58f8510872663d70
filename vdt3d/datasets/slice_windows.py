"""SliceWindows: every slice of every case of a volume data set, each with its neighbours; arrays are (C, D, H, W)."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from mmengine.dataset import Compose
from torch.utils.data import Dataset

from vdt3d.datasets.base import VolumeDataset, built, never_none
from vdt3d.io.cache import case_statistics
from vdt3d.registry import DATASETS
from vdt3d.structures import IGNORED, Sample, SliceWindow
from vdt3d.transforms import CutWindow, Reorient3D

MOST_CASES = 256  # kept open at a time, however small: each may hold files of a cache


@DATASETS.register_module()
class SliceWindows(Dataset):
    """The windows (``SliceWindow``) about all slices of a volume data set, case after case; none reaches into another.

    A sample is a case whose image and label map have the slices of its window, so the transforms of volumes do for it,
    and what is known of the whole case (``statistics``) stays known. Where the cases lie in a cache (``prepared``) or
    are folders of slices, a sample reads the slices it needs and no others. Scans that can only be read whole are kept
    in memory as far as ``cache_mb`` goes; prepare a data set that is larger.

    Args:
        dataset: the volume data set, or its config. Its pipeline may hold ``Reorient3D`` alone, so that slices follow
            one another from feet to head whatever the files' orientation; a prepared data set needs none.
        window: arguments of ``SliceWindow``; the model must be given the same.
        axis: "D", "H" or "W": along which axis of the scans slices follow one another.
        pipeline: transforms, or their configs, from ``Sample`` to what the data loader collates.
        cache_mb: how much of scans that are read whole is kept, in each process that reads.

    Raises:
        ValueError: a window or axis that cannot be; the data set has a pipeline of more than ``Reorient3D``, or reads
            whole scans with their truth for scoring (``whole_scans``).
    """

    def __init__(
        self,
        dataset: dict | VolumeDataset,
        *,
        window: dict | SliceWindow | None = None,
        axis: str = "D",
        pipeline: Sequence[dict | Callable] = (),
        cache_mb: int = 1024,
    ):
        self.window = SliceWindow.of(window)
        self.cut = CutWindow(self.window, axis)
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        others = [type(step).__name__ for step in self.dataset.pipeline.transforms if not isinstance(step, Reorient3D)]
        if others or getattr(self.dataset, "whole_scans", False):
            found = f"pipeline with {', '.join(others)}" if others else "whole_scans=True"
            raise ValueError(
                f"the data set within SliceWindows ({type(self.dataset).__name__}) has {found}; it may have "
                "pipeline=[dict(type='Reorient3D')] and no whole_scans: give SliceWindows the other transforms"
            )
        self.pipeline = Compose(built(pipeline))
        self._most_bytes = cache_mb << 20
        self._kept: OrderedDict[int, Sample] = OrderedDict()
        self._measured: dict[int, dict[str, list[float]]] = {}
        self._ends: list[int] | None = None

    @property
    def metainfo(self) -> dict[str, Any]:
        """That of the volume data set."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Find the cases and count their slices."""
        self.dataset.full_init()
        if self._ends is None:
            lengths = (self.cut.length(self._case(number).image) for number in range(len(self.dataset)))
            self._ends = list(accumulate(lengths))

    def __len__(self) -> int:
        self.full_init()
        return self._ends[-1]

    def where(self, index: int) -> tuple[int, int]:
        """The number of the case, and the position of the slice in it, of sample ``index``."""
        if not 0 <= index < len(self):
            raise IndexError(f"there is no sample {index} among {len(self)}")
        number = bisect_right(self._ends, index)
        return number, index - (self._ends[number - 1] if number else 0)

    def read(self, index: int) -> Sample:
        """The window about a slice, before the pipeline."""
        number, position = self.where(index)
        sample = self._case(number)
        return self.cut.at(sample, position).replace(name=f"{sample.name}, slice {position + 1}")

    def __getitem__(self, index: int) -> Any:
        """Window ``index``, sent through the pipeline.

        Raises:
            ValueError: the pipeline returned None.
        """
        sample = self.read(index)
        return never_none(self.pipeline(sample), sample.name, self.pipeline)

    def targets(self) -> np.ndarray:
        """(N,) 1 where something is labelled in the slice that a window is about, else 0: for ``BalancedSampler``,
        which then draws empty slices as often as others.
        """
        return np.concatenate([self._labelled(self._case(number)) for number in range(len(self.dataset))])

    def _labelled(self, sample: Sample) -> np.ndarray:
        """(slices,) whether anything is labelled in each slice of a case."""
        if sample.label_map is None:
            raise ValueError(f"case '{sample.name}' has no label map to tell empty slices by: leave balancing out")
        labels_DHW = np.asarray(sample.label_map.array)[0]
        others = tuple({0, 1, 2} - {"DHW".index(self.cut.axis)})
        return ((labels_DHW != 0) & (labels_DHW != IGNORED)).any(axis=others).astype(int)

    def _case(self, number: int) -> Sample:
        """A case, from memory if it is there still."""
        sample = self._kept.pop(number, None)
        if sample is not None:
            self._kept[number] = sample
            return sample
        read = self.dataset.pipeline(self.dataset.read(self.dataset.get_data_info(number)))
        sample = self._kept[number] = self._with_statistics(number, read)
        while len(self._kept) > 1 and (len(self._kept) > MOST_CASES or self._held() > self._most_bytes):
            self._kept.popitem(last=False)
        return sample

    def _with_statistics(self, number: int, sample: Sample) -> Sample:
        """The case, with the numbers of all its voxels, which a window alone could not tell."""
        known = sample.statistics or {}
        if "mean" not in known:
            if number not in self._measured:
                self._measured[number] = case_statistics(np.asarray(sample.image.array))
            known = known | self._measured[number]
        return sample.replace(statistics=known)

    def _held(self) -> int:
        """Bytes of the scans in memory; arrays in files count for nothing."""
        volumes = (volume for sample in self._kept.values() for volume in (sample.image, sample.label_map) if volume)
        return sum(volume.array.nbytes for volume in volumes if isinstance(volume.array, np.ndarray))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": OrderedDict()}  # a worker reads for itself
