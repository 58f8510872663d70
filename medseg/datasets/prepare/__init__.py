"""From a data set as it was released to one that trains: converted, checked, cached in blocks, and measured."""

from medseg.datasets.prepare.find import SOURCES
from medseg.datasets.prepare.run import Report, prepare

__all__ = ["SOURCES", "Report", "prepare"]
