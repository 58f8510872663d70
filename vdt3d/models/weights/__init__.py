"""Pretrained weights: files, downloads, recognition, adaptation, loading."""
