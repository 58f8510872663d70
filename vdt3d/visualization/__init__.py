"""Pictures: slice sheets, what a model is fed, pages of predictions, learning curves."""

from vdt3d.visualization.curves import learning_curves, read_scalars
from vdt3d.visualization.grid import PALETTE, save
from vdt3d.visualization.predictions import predictions_page
from vdt3d.visualization.sheets import input_sheet, slice_rows, volume_sheet

__all__ = [
    "PALETTE",
    "input_sheet",
    "learning_curves",
    "predictions_page",
    "read_scalars",
    "save",
    "slice_rows",
    "volume_sheet",
]
