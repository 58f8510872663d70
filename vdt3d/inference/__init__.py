"""From a network and a whole scan to labels or findings on the scan's own grid; the network arrives as a callable."""

from vdt3d.inference.case_inferer import CaseInferer, Classified
from vdt3d.inference.ensemble import Ensemble, dropout_passes, entropy, mirrored
from vdt3d.inference.findings import Findings, join_slices, scan_report, table_rows
from vdt3d.inference.inferer import Assessed, Inferer
from vdt3d.inference.postprocess import PostProcess, fill_holes, keep_largest, remove_small
from vdt3d.inference.slice_windows import SliceWindowInferer
from vdt3d.inference.sliding_window import SlidingWindow
from vdt3d.inference.whole_volume import WholeVolume
from vdt3d.inference.window_sweep import Swept, sweep

__all__ = [
    "Assessed",
    "CaseInferer",
    "Classified",
    "Ensemble",
    "Findings",
    "Inferer",
    "PostProcess",
    "SliceWindowInferer",
    "SlidingWindow",
    "Swept",
    "WholeVolume",
    "dropout_passes",
    "entropy",
    "fill_holes",
    "join_slices",
    "keep_largest",
    "mirrored",
    "remove_small",
    "scan_report",
    "sweep",
    "table_rows",
]
