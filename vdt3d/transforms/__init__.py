"""Transforms: of volumes, from sample to sample (draw, apply, undo) until packed; of pictures, in mmpretrain's dict."""

from vdt3d.transforms.base import IntensityTransform, SpatialTransform, Transform, undo
from vdt3d.transforms.intensity import Normalize3D, RandomGaussianNoise, RandomScaleShift, Window, ZScore
from vdt3d.transforms.pack import PackVolume
from vdt3d.transforms.spatial import (
    CenterCrop3D,
    Pad3D,
    RandomFlip3D,
    RandomFlipOneAxis3D,
    RandomRotate90,
    RandomShiftCrop3D,
    Resize3D,
)
from vdt3d.transforms.vdt import GREY_MEAN, GREY_STD, ColoursToSlices, RandomChannelShuffle, colours_to_slices

__all__ = [
    "GREY_MEAN",
    "GREY_STD",
    "CenterCrop3D",
    "ColoursToSlices",
    "IntensityTransform",
    "Normalize3D",
    "PackVolume",
    "Pad3D",
    "RandomChannelShuffle",
    "RandomFlip3D",
    "RandomFlipOneAxis3D",
    "RandomGaussianNoise",
    "RandomRotate90",
    "RandomScaleShift",
    "RandomShiftCrop3D",
    "Resize3D",
    "SpatialTransform",
    "Transform",
    "Window",
    "ZScore",
    "colours_to_slices",
    "undo",
]
