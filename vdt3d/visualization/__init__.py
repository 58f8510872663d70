"""Pictures: slice sheets, what a model is fed, windows, whole cases, pages of predictions, learning curves, FROC."""

from vdt3d.visualization.curves import learning_curves, read_scalars
from vdt3d.visualization.findings import finding_pictures, write_findings_page
from vdt3d.visualization.froc import froc_curves
from vdt3d.visualization.grid import PALETTE, save
from vdt3d.visualization.html import jpeg
from vdt3d.visualization.predictions import boxes_page, labels_page, predictions_page
from vdt3d.visualization.reliability import reliability_diagram
from vdt3d.visualization.runs import validation_curves, write_runs_page
from vdt3d.visualization.sheets import input_sheet, slice_rows, volume_sheet
from vdt3d.visualization.windows import montage, window_page

__all__ = [
    "PALETTE",
    "boxes_page",
    "finding_pictures",
    "froc_curves",
    "input_sheet",
    "jpeg",
    "labels_page",
    "learning_curves",
    "montage",
    "predictions_page",
    "read_scalars",
    "reliability_diagram",
    "save",
    "slice_rows",
    "validation_curves",
    "volume_sheet",
    "window_page",
    "write_findings_page",
    "write_runs_page",
]
