"""Masks of the UW-Madison GI Tract challenge: run lengths, NIfTI, label PNG and npy."""

from medseg.io.masks import find_masks, find_scans, write_mask_folder, write_mask_table
from medseg.io.rle import RunLengths, mask_rows, read_masks, write_masks

__all__ = [
    "RunLengths",
    "find_masks",
    "find_scans",
    "mask_rows",
    "read_masks",
    "write_mask_folder",
    "write_mask_table",
    "write_masks",
]
