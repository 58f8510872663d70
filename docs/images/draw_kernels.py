"""Draw docs/images/kernels.png: what each way from 2D to 3D makes of one 3 x 3 kernel, with the numbers in it.

python docs/images/draw_kernels.py
"""

from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes

from vdt3d.models.inflate import inflate_kernel

EDGE = torch.tensor([[-3.0, 0.0, 3.0], [-6.0, 0.0, 6.0], [-3.0, 0.0, 3.0]])


def main() -> None:
    volumes = {
        "2D kernel": EDGE[None],
        "I3D: repeated, divided by its depth": inflate_kernel(EDGE[None, None], 3, "i3d")[0, 0],
        "centring: in the middle, zeros around": inflate_kernel(EDGE[None, None], 3, "centre")[0, 0],
        "2.5D: one slice, as it is": EDGE[None],
        "ACS, a third of the channels: axial": in_cube(0),
        "ACS, a third: coronal": in_cube(1),
        "ACS, a third: sagittal": in_cube(2),
    }
    figure, rows = plt.subplots(len(volumes), 3, figsize=(4, 9), squeeze=False)
    for row, (title, volume) in zip(rows, volumes.items(), strict=True):
        for column, axes in enumerate(row):
            present = len(volume) == 3 or column == 1
            draw(axes, volume[min(column, len(volume) - 1)] if present else None)
        row[0].set_title(title, loc="left", fontsize=9)
    for axes, name in zip(rows[-1], ("slice before", "slice", "slice behind"), strict=True):
        axes.set_xlabel(name, fontsize=8)
    figure.tight_layout()
    figure.savefig(Path(__file__).with_name("kernels.png"), dpi=110)


def in_cube(plane: int) -> torch.Tensor:
    """The kernel in a cube of zeros, flat along axis ``plane`` (0 depth, 1 height, 2 width)."""
    cube = torch.zeros(3, 3, 3)
    cube.select(plane, 1).copy_(EDGE)
    return cube


def draw(axes: Axes, kernel: torch.Tensor | None) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    if kernel is None:
        axes.axis("off")
        return
    axes.imshow(kernel, cmap="PuOr", vmin=-9, vmax=9)
    for (row, column), value in zip(
        torch.cartesian_prod(torch.arange(3), torch.arange(3)), kernel.flatten(), strict=True
    ):
        axes.text(column, row, f"{value:g}", ha="center", va="center", fontsize=8)


if __name__ == "__main__":
    main()
