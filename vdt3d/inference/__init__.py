"""From a network and a whole scan to labels on the scan's own grid; the network arrives as a callable."""

from vdt3d.inference.ensemble import Ensemble, mirrored
from vdt3d.inference.inferer import Inferer
from vdt3d.inference.postprocess import PostProcess, fill_holes, keep_largest, remove_small
from vdt3d.inference.slice_windows import SliceWindowInferer
from vdt3d.inference.sliding_window import SlidingWindow
from vdt3d.inference.whole_volume import WholeVolume

__all__ = [
    "Ensemble",
    "Inferer",
    "PostProcess",
    "SliceWindowInferer",
    "SlidingWindow",
    "WholeVolume",
    "fill_holes",
    "keep_largest",
    "mirrored",
    "remove_small",
]
