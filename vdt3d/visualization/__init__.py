"""Pictures: slice sheets, what a model is fed, windows, whole cases, pages of predictions, learning curves."""

from vdt3d.visualization.curves import learning_curves, read_scalars
from vdt3d.visualization.grid import PALETTE, save
from vdt3d.visualization.predictions import predictions_page
from vdt3d.visualization.sheets import input_sheet, slice_rows, volume_sheet
from vdt3d.visualization.windows import montage, window_page

__all__ = [
    "PALETTE",
    "input_sheet",
    "learning_curves",
    "montage",
    "predictions_page",
    "read_scalars",
    "save",
    "slice_rows",
    "volume_sheet",
    "window_page",
]
