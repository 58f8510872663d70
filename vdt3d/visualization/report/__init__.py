"""The report of runs: one page that needs no network, with scores, plots, and cases to scroll through."""

from vdt3d.visualization.report.page import ReportRun, Table, write_report
from vdt3d.visualization.report.sprites import Sprites, case_sprites, label_codes, slices_of

__all__ = ["ReportRun", "Sprites", "Table", "case_sprites", "label_codes", "slices_of", "write_report"]
