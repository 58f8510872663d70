"""Segmentation networks, heads, losses and the segmentor that joins them."""
