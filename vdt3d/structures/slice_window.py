"""SliceWindow: which neighbouring slices a network sees at once, and of which of them it answers."""

from dataclasses import dataclass
from typing import Literal

from vdt3d.structures.window import Window

OUTSIDE = -1  # in the positions of a window: a slice that does not exist and is shown as zeros


@dataclass(frozen=True)
class SliceWindow(Window):
    """A window of slices around (or from) a target slice; positions count from 0 along the axis of the slices.

    Args:
        slices: how many.
        stride: slices from one to the next.
        stride_mm: the same in millimetres, in place of ``stride``: rounded to whole slices of each scan, at least one.
        target: which of its slices are answered: "centre" is the middle one (``slices // 2``); "first" lets the window
            run ahead, which with ``edge="clamp"`` are the windows of the first public 2.5D solutions of the
            UW-Madison GI Tract challenge; "all" is a window about its middle of which every slice is answered.
        edge: what stands for slices beyond the ends: "clamp", the scan's first or last slice; "repeat", the last slice
            of the window that there is; "zero", a slice of zeros.

    Raises:
        ValueError: a number below 1, both strides, or an unknown word.
    """

    slices: int = 5
    stride: int = 1
    stride_mm: float | None = None
    target: Literal["centre", "first", "all"] = "centre"
    edge: Literal["clamp", "repeat", "zero"] = "clamp"

    def __post_init__(self):
        if self.slices < 1 or self.stride < 1:
            raise ValueError(
                f"slices={self.slices}, stride={self.stride}: a window has one slice or more, and moves on"
            )
        if self.stride_mm is not None and (self.stride != 1 or not self.stride_mm > 0):
            raise ValueError(f"stride_mm={self.stride_mm} is a positive length in place of stride={self.stride}")
        for name, choices in (("target", ("centre", "first", "all")), ("edge", ("clamp", "repeat", "zero"))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r} is unknown; choose one of {', '.join(choices)}")

    @property
    def place(self) -> int:
        """The place in the window, from 0, of the slice it is about."""
        return 0 if self.target == "first" else self.slices // 2

    @property
    def answered(self) -> range:
        """The places in the window, from 0, of the slices that are answered."""
        return range(self.slices) if self.target == "all" else range(self.place, self.place + 1)

    def step(self, spacing: float) -> int:
        """Slices from one to the next in a scan whose slices lie ``spacing`` mm apart."""
        return self.stride if self.stride_mm is None else max(1, round(self.stride_mm / spacing))

    def start(self, position: int, step: int) -> int:
        """Where the window about (or from) ``position`` begins, be it before the first slice."""
        return position - step * self.place

    def positions(self, position: int, length: int, step: int) -> tuple[int, ...]:
        """The slices of the window about (or from) ``position`` in a scan of ``length``, or ``OUTSIDE``.

        Raises:
            ValueError: there is no slice ``position``.
        """
        if not 0 <= position < length:
            raise ValueError(f"there is no slice {position} among {length}")
        start = self.start(position, step)
        wanted = range(start, start + step * self.slices, step)
        inside = [place for place in wanted if 0 <= place < length]
        low, high = {"clamp": (0, length - 1), "repeat": (inside[0], inside[-1]), "zero": (OUTSIDE, OUTSIDE)}[self.edge]
        return tuple(low if place < 0 else high if place >= length else place for place in wanted)
