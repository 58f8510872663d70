"""Looking a data set over before learning from it: facts of each case, what is odd, copies and leaks; no drawing."""

from vdt3d.datasets.inspection.cases import Entry, config_entries, folder_entries, read_entry
from vdt3d.datasets.inspection.facts import LEVELS, Facts, measure
from vdt3d.datasets.inspection.findings import KINDS, Finding, find_all
from vdt3d.datasets.inspection.likeness import Alike, find_alike
from vdt3d.datasets.inspection.spectrum import Motion, spectrum

__all__ = [
    "KINDS",
    "LEVELS",
    "Alike",
    "Entry",
    "Facts",
    "Finding",
    "Motion",
    "config_entries",
    "find_alike",
    "find_all",
    "folder_entries",
    "measure",
    "read_entry",
    "spectrum",
]
