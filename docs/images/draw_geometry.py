"""Draw docs/images/geometry.png: a scan as stored, in the world, as a network sees it, and labels on their way back.

python docs/images/draw_geometry.py
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from vdt3d.datasets.synthetic.phantoms import ORGANS, draw_organs
from vdt3d.structures import LabelMap, Sample, Volume, affine_from_spacing
from vdt3d.transforms import ResampleSpacing3D, undo
from vdt3d.visualization import PALETTE, save

SHAPE, SPACING = (34, 90, 110), (8.0, 3.2, 3.2)
TOLD = (7.0, 12.0, 12.0)  # mm, the network's: coarse, so that its voxels can be seen
CORONAL = 0.42  # of the way from back to front


def main() -> None:
    hu, labels = draw_organs(np.random.default_rng(1), SHAPE, SPACING)
    affine = affine_from_spacing(SPACING)
    scan = Sample(Volume(hu[None], affine), LabelMap(labels[None], affine), name="phantom")
    seen = ResampleSpacing3D(TOLD)(scan)
    back = undo(seen.label_map, seen)
    figure, panels = plt.subplots(1, 4, figsize=(11, 2.5))
    draw(panels[0], scan.image, scan.label_map, "as stored: 34 x 110 voxels,\ndrawn as squares", square=True)
    draw(panels[1], scan.image, scan.label_map, "in the world: 8 x 3.2 mm a voxel")
    draw(panels[2], seen.image, seen.label_map, "the network's grid: 7 x 12 mm,\nits labels")
    draw(panels[3], scan.image, back, "back on the scan's own grid")
    figure.tight_layout()
    save(figure, Path(__file__).with_name("geometry.png"), dpi=110)


def draw(axes: Axes, image: Volume, labels: LabelMap, title: str, *, square: bool = False) -> None:
    """A coronal cut with its labels: head up, the patient's right on the left, true to scale unless ``square``."""
    at = int(CORONAL * image.shape[1])
    depth, _, width = (1.0, 1.0, 1.0) if square else image.spacing
    grey, found = image.array[0, :, at, ::-1], labels.array[0, :, at, ::-1]
    extent = (0, width * grey.shape[1], 0, depth * grey.shape[0])
    axes.imshow(grey, cmap="gray", vmin=-200, vmax=300, origin="lower", extent=extent)
    for label in range(1, len(ORGANS) + 1):
        mask = np.repeat(np.repeat(found == label, 8, 0), 8, 1)  # so that the outline follows the voxels' edges
        if mask.any():
            axes.contour(mask, [0.5], colors=[PALETTE[label - 1]], linewidths=1.5, extent=extent)
    axes.set_title(title, fontsize=9)
    unit = "voxels" if square else "mm"
    axes.set_xlabel(f"to the patient's left, {unit}", fontsize=8)
    axes.set_ylabel(f"to the head, {unit}", fontsize=8)
    axes.tick_params(labelsize=7)


if __name__ == "__main__":
    main()
