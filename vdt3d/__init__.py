"""VDT3D: 3D medical models from 2D knowledge, by the variable dimension transform and its peers."""

__version__ = "0.1.0"
