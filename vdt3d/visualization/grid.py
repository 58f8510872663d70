"""Rows of pictures on a figure of exact size (no pyplot, so no global state), the palette, and saving."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

from vdt3d.utils.files import write_aside

# Okabe and Ito 2008: told apart by every kind of colour vision. Black is left out, it would vanish in a scan.
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
WARNING = "#D55E00"

# Inches.
CELL, GAP, MARGIN, SIDE, HEAD, FOOT, LINE = 1.5, 0.06, 0.12, 1.75, 0.28, 0.28, 0.16
ENTRY, LETTER = 0.6, 0.068  # of a legend: the patch with the space around an entry, a letter of its name
BAR = 1.2  # of a scale


@dataclass(frozen=True)
class Row:
    """Pictures side by side.

    Args:
        pictures: each (H, W, 3) in 0..1.
        aspect: height of a pixel over its width.
        captions: a word in each picture's corner.
        text: what is written to the left of the row.
        warning: a short word below the text; the row is framed, too, so that it stands out without its colour.
    """

    pictures: Sequence[np.ndarray]
    aspect: float = 1.0
    captions: Sequence[str] = ()
    text: str = ""
    warning: str = ""

    @property
    def height(self) -> float:
        """Inches, for pictures that are ``CELL`` wide and text that fits."""
        rows, columns = self.pictures[0].shape[:2]
        return max(CELL * self.aspect * rows / columns, LINE * (len(self.lines) + 1))

    @property
    def lines(self) -> list[str]:
        """What stands beside the row, broken to the width there is."""
        lines = [*self.text.splitlines(), self.warning]
        return [part for line in lines for part in textwrap.wrap(line, 27, subsequent_indent="  ")]


class Scale(NamedTuple):
    """A bar of colours.

    Fields:
        colours: (N, 3) in 0..1.
        first, last: what stands before and behind it.
    """

    colours: np.ndarray
    first: str
    last: str


def draw(
    rows: Sequence[Row],
    *,
    title: str = "",
    legend: Mapping[str, str] | None = None,
    scale: Scale | None = None,
    note: str = "",
) -> Figure:
    """The rows below each other.

    Args:
        legend: name to colour; written in as many lines as the width asks for.
        scale: what colours in the pictures stand for.
        note: written below all, in as many lines.
    """
    left = MARGIN + (SIDE if any(row.text for row in rows) else 0)
    width = max(left + max(len(row.pictures) for row in rows) * (CELL + GAP) - GAP + MARGIN, 3.5)
    legend = dict(legend or {})
    columns = max(1, min(len(legend), int((width - 2 * MARGIN) / (ENTRY + LETTER * max(map(len, legend), default=0)))))
    top = MARGIN + (HEAD if title else 0)
    lines = textwrap.wrap(note, int((width - 2 * MARGIN) / LETTER))
    foot = LINE * len(lines) + (FOOT if scale else 0)  # what stands below the legend
    bottom = MARGIN + foot + (FOOT + LINE * ((len(legend) - 1) // columns) if legend else 0)
    height = top + sum(row.height + GAP for row in rows) - GAP + bottom
    figure = Figure(figsize=(width, height), facecolor="white")
    inches = figure.dpi_scale_trans
    if title:
        figure.text(MARGIN, height - MARGIN, title, fontsize=11, weight="bold", va="top", transform=inches)
    if legend:
        handles = [Patch(color=colour, label=name) for name, colour in legend.items()]
        figure.legend(
            **dict(handles=handles, loc="lower left", ncols=columns, fontsize=8, frameon=False, labelspacing=0.25),
            **dict(borderaxespad=0, bbox_to_anchor=(MARGIN / width, (MARGIN / 2 + foot) / height)),
        )

    y = height - top
    for row in rows:
        y -= row.height
        for column, picture in enumerate(row.pictures):
            x = left + column * (CELL + GAP)
            axes = figure.add_axes((x / width, y / height, CELL / width, row.height / height))
            axes.imshow(picture, aspect=row.aspect, vmin=0, vmax=1)
            axes.axis("off")
            if row.captions:
                _write_caption(axes, row.captions[column])
        for number, line in enumerate(row.lines):
            look = {"color": WARNING, "weight": "bold"} if line == row.warning else {}
            line_y = y + row.height - number * LINE
            figure.text(MARGIN, line_y, line, fontsize=8, va="top", transform=inches, **look)
        if row.warning:
            wide = len(row.pictures) * (CELL + GAP) - GAP
            box = Rectangle((left, y), wide, row.height, transform=inches, fill=False, ec=WARNING, lw=2.5, zorder=5)
            figure.add_artist(box)
        y -= GAP

    if scale:
        _write_scale(figure, scale, LINE * len(lines) + MARGIN)
    for number, line in enumerate(reversed(lines)):
        figure.text(MARGIN, MARGIN / 2 + number * LINE, line, fontsize=8, va="bottom", transform=inches)
    return figure


def _write_scale(figure: Figure, scale: Scale, y: float) -> None:
    """At the left, its words before and behind it, ``y`` inches from below."""
    width, height = figure.get_size_inches()
    left = MARGIN + LETTER * len(scale.first) + GAP
    axes = figure.add_axes((left / width, y / height, BAR / width, 0.6 * LINE / height))
    axes.imshow(scale.colours[None], aspect="auto")
    axes.axis("off")
    look = dict(fontsize=8, va="center", transform=figure.dpi_scale_trans)
    figure.text(left - GAP, y + 0.3 * LINE, scale.first, ha="right", **look)
    figure.text(left + BAR + GAP, y + 0.3 * LINE, scale.last, **look)


def _write_caption(axes: Axes, caption: str) -> None:
    outline = [withStroke(linewidth=1.5, foreground="black")]
    axes.text(0.04, 0.96, caption, color="white", fontsize=7, va="top", transform=axes.transAxes, path_effects=outline)


def save(figure: Figure, path: str | Path, dpi: int = 200) -> None:
    """Write the figure in the format of the path's suffix; folders are made where they are missing."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_aside(path, lambda aside: figure.savefig(aside, format=path.suffix.removeprefix(".") or "png", dpi=dpi))
