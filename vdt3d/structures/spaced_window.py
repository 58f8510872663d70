"""SpacedWindow: slices evenly spaced in millimetres about a key slice, whatever lies between the slices of the scan."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vdt3d.structures.window import Window


class Source(NamedTuple):
    """Where a slice of a window comes from: the mix of two slices of the scan, or one of them.

    Fields:
        low, high: their positions; equal where one slice is taken as it is.
        share: of ``high`` in the mix, from 0 to below 1; ``low`` has the rest.
    """

    low: int
    high: int
    share: float


@dataclass(frozen=True)
class SpacedWindow(Window):
    """A window of slices ``spacing`` mm apart, of which the one at ``place`` is the key slice, the one answered.

    Slice ``p`` from the key lies ``p * spacing / interval`` slices from it in a scan whose slices follow one another by
    ``interval`` mm; between two slices it is their linear mix, by the distance to each. The published code for
    DeepLesion took the weights from ``spacing / interval`` alone, which is right for whole and half numbers only.

    Args:
        slices: how many. The key slice is number ``slices // 2`` from 0: of an even number, one more lies before it
            than behind it (in the published code behind it).
        spacing: mm from one to the next.

    Raises:
        ValueError: no slice, or a spacing that is not positive.
    """

    slices: int = 9
    spacing: float = 2.5

    def __post_init__(self):
        if self.slices < 1 or not 0 < self.spacing < float("inf"):
            raise ValueError(
                f"slices={self.slices}, spacing={self.spacing}: one slice or more, a positive length in mm"
            )

    @property
    def place(self) -> int:
        """The place in the window, from 0, of the key slice."""
        return self.slices // 2

    @property
    def answered(self) -> range:
        """The places in the window, from 0, of the slices that are answered: the key slice."""
        return range(self.place, self.place + 1)

    def step(self, interval: float) -> float:
        """Slices from one to the next, not always whole, in a scan whose slices lie ``interval`` mm apart."""
        return self.spacing / interval

    def start(self, key: int, step: float) -> float:
        """Where in the scan the window about ``key`` begins, be it before the first slice or between two."""
        return key - step * self.place

    def sources(self, key: int, step: float, there: Sequence[int]) -> tuple[Source, ...]:
        """Where the slices of the window about ``key`` come from.

        A slice that is not there, before the first, behind the last or missing between others, is stood for by the
        nearest one there is on its way to the key slice.

        Args:
            key: position of the key slice.
            step: as ``step`` tells it.
            there: the positions at which the scan has slices, ascending; a range will do.

        Raises:
            ValueError: there is no slice ``key``.
        """
        first = bisect_left(there, key)
        if first == len(there) or there[first] != key:
            raise ValueError(f"there is no slice {key} among {len(there)}")

        def nearest(position: int) -> int:
            if position < key:
                return int(there[bisect_left(there, position)])
            return int(there[bisect_right(there, position) - 1])

        found = []
        for place in range(self.slices):
            # Rounded, so that an error in the last digit of a product reads no second slice.
            below, share = divmod(round(key + (place - self.place) * step, 6), 1)
            low, high = nearest(int(below)), nearest(int(below) + (share > 0))
            found.append(Source(low, high, share if low != high else 0.0))
        return tuple(found)
