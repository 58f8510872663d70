"""ArrayInFiles: what lazy arrays share; arrays are (C, D, H, W)."""

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np


class ArrayInFiles(ABC):
    """An array of which slices are read as they are asked for; ``numpy.asarray`` reads all of it.

    Attributes:
        path: the file or folder.
        shape, dtype: of the whole.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @abstractmethod
    def _read(self, slices: tuple[slice, ...]) -> np.ndarray:
        """What ``slices``, one for each axis and none of them backward, take."""

    def __getitem__(self, index: slice | tuple[slice, ...]) -> np.ndarray:
        """Read slices that go forward.

        Raises:
            IndexError: any other index, for which the whole array would have to be read.
            ScanError: a file is damaged.
        """
        slices = index if isinstance(index, tuple) else (index,)
        forward = all(isinstance(part, slice) and (part.step is None or part.step > 0) for part in slices)
        if not forward or len(slices) > self.ndim:
            raise IndexError(f"{self.path} is read in forward slices, not {index}; numpy.asarray reads all of it")
        return self._read((*slices, *[slice(None)] * (self.ndim - len(slices))))

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError(f"{self.path} cannot become an array without being read")
        array = self[:]
        return array if dtype is None else array.astype(dtype, copy=False)
