"""The segmentation column of VDT3D; it imports vdt3d, never the reverse."""
