"""Data sets of scans with a label per voxel."""
