"""Draw docs/images/windows.png: windows of slices about one slice of an MR phantom, as a 2.5D network sees them.

python docs/images/draw_windows.py
"""

from pathlib import Path

import numpy as np

from medseg.datasets.gi_slices import GI_ORGANS, draw_anatomy, draw_bowels
from vdt3d.structures import LabelMap, Sample, SliceWindow, Volume, affine_from_spacing, overlapping_regions
from vdt3d.transforms import CutWindow
from vdt3d.visualization import save, window_page

SHAPE = (32, 110, 132)
TARGET = 9  # near where organs begin, so that neighbours differ
WINDOWS = {
    "one slice: 2D": SliceWindow(1),
    "three slices": SliceWindow(3),
    "five slices": SliceWindow(5),
    "five slices,\nstride 2": SliceWindow(5, stride=2),
}


def main() -> None:
    rng = np.random.default_rng(3)
    signal, labels = draw_bowels(rng, SHAPE, draw_anatomy(rng))
    affine = affine_from_spacing((3.0, 1.5, 1.5))
    scan = Sample(Volume(signal[None].astype(np.float32), affine), LabelMap(labels[None], affine), name="phantom")
    seen = [CutWindow(window).at(scan, TARGET) for window in WINDOWS.values()]
    page = window_page(
        [sample.image.array for sample in seen],
        list(WINDOWS),
        labels=[sample.label_map.array[0] for sample in seen],
        regions=overlapping_regions(tuple(GI_ORGANS)),
        title=f"Slice {TARGET + 1} and its neighbours",
    )
    save(page, Path(__file__).with_name("windows.png"), dpi=110)


if __name__ == "__main__":
    main()
