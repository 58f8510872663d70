"""Draw docs/images/vdt.png: a picture, its colours as the slices of a volume, and a scan that the network reads alike.

python docs/images/draw_vdt.py
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vdt3d.datasets.synthetic.fractals import draw_picture, draw_system
from vdt3d.datasets.synthetic.phantoms import draw_organs
from vdt3d.visualization import save

COLOURS = ("red", "green", "blue")
SHIFT = 0.26  # of the side, from one slice of a stack to the next


def main() -> None:
    picture_HWC = draw_picture(draw_system(np.random.default_rng(4)), 160, np.random.default_rng(2))
    colours = [picture_HWC[..., colour] for colour in range(3)]
    hu, _ = draw_organs(np.random.default_rng(3), (24, 140, 140), (5.0, 2.5, 2.5))
    scan = list(255 * np.clip((hu[11:14, ::-1, ::-1] + 160) / 400, 0, 1))  # front on top, as hung
    figure, (photograph, ordered, shuffled, target) = plt.subplots(1, 4, figsize=(11, 3.1))
    photograph.imshow(picture_HWC)
    photograph.set_title("a picture\n(3, H, W)", fontsize=9)
    stack(ordered, colours, COLOURS, "its colours as slices\n(1, 3, H, W)")
    order = (2, 0, 1)
    names = [COLOURS[colour] for colour in order]
    stack(shuffled, [colours[colour] for colour in order], names, "shuffled, as in training\n(1, 3, H, W)")
    stack(target, scan, [f"z = {number}" for number in range(11, 14)], "a scan, later\n(1, D, H, W)")
    for axes in (photograph, ordered, shuffled, target):
        axes.axis("off")
    joined(figure, photograph, ordered)
    save(figure, Path(__file__).with_name("vdt.png"), dpi=110)


def stack(axes: Axes, slices: list[np.ndarray], names: list[str], title: str) -> None:
    """Slices behind one another, the first in front at the lower left, each with its name in the corner left free."""
    side = 1 - SHIFT * (len(slices) - 1) / 2
    for number in reversed(range(len(slices))):
        low = SHIFT / 2 * number
        box = (low, low + side, low, low + side)
        axes.imshow(slices[number], cmap="gray", vmin=0, vmax=255, extent=box, zorder=len(slices) - number)
        axes.plot(
            [box[0], box[1], box[1], box[0], box[0]],
            [box[2], box[2], box[3], box[3], box[2]],
            color="white",
            linewidth=1.5,
            zorder=len(slices) - number,
        )
        axes.text(box[1] + 0.01, box[2] + 0.01, names[number], fontsize=7, va="bottom")
    axes.set(xlim=(-0.01, 1.22), ylim=(-0.01, 1.01))
    axes.set_title(title, fontsize=9)


def joined(figure: Figure, start: Axes, end: Axes) -> None:
    """An arrow from one panel to the next."""
    figure.tight_layout(w_pad=2.5)
    left, right = start.get_position(), end.get_position()
    middle = (left.y0 + left.y1) / 2
    start.annotate(
        "",
        xy=(right.x0 - 0.005, middle),
        xytext=(left.x1 + 0.005, middle),
        xycoords="figure fraction",
        textcoords="figure fraction",
        arrowprops={"arrowstyle": "->"},
    )


if __name__ == "__main__":
    main()
