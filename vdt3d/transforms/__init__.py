"""Transforms: of volumes, from sample to sample (draw, apply, undo) until packed; of pictures, in mmpretrain's dict."""

from vdt3d.transforms.augment import (
    RandomBlur3D,
    RandomContrast3D,
    RandomGamma3D,
    RandomGaussianNoise,
    RandomLowResolution3D,
    RandomScaleShift,
)
from vdt3d.transforms.base import IntensityTransform, SpatialTransform, Transform, undo
from vdt3d.transforms.crops import (
    CenterCrop3D,
    CropBody3D,
    CropForeground3D,
    Cut,
    Pad3D,
    PadToMultiple3D,
    RandomCrop3D,
    RandomShiftCrop3D,
)
from vdt3d.transforms.deform import RandomSpatial3D
from vdt3d.transforms.intensity import (
    ClipNormalize3D,
    FingerprintNormalize,
    Normalize3D,
    Percentile3D,
    Window,
    ZScore,
)
from vdt3d.transforms.pack import PackDetection, PackSegmentation, PackVolume
from vdt3d.transforms.resampling import (
    RandomChoiceResize3D,
    RandomResize3D,
    RandomZoom3D,
    ResampleSpacing3D,
    Resampling,
    Resize3D,
)
from vdt3d.transforms.sampling import RandomPatch3D, RandomZCrop
from vdt3d.transforms.spatial import RandomFlip3D, RandomFlipOneAxis3D, RandomRotate90, Reorient3D
from vdt3d.transforms.vdt import GREY_MEAN, GREY_STD, ColoursToSlices, RandomChannelShuffle, colours_to_slices
from vdt3d.transforms.windows import CutWindow, mixed, window_affine

__all__ = [
    "GREY_MEAN",
    "GREY_STD",
    "CenterCrop3D",
    "ClipNormalize3D",
    "ColoursToSlices",
    "CropBody3D",
    "CropForeground3D",
    "Cut",
    "CutWindow",
    "FingerprintNormalize",
    "IntensityTransform",
    "Normalize3D",
    "PackDetection",
    "PackSegmentation",
    "PackVolume",
    "Pad3D",
    "PadToMultiple3D",
    "Percentile3D",
    "RandomBlur3D",
    "RandomChannelShuffle",
    "RandomChoiceResize3D",
    "RandomContrast3D",
    "RandomCrop3D",
    "RandomFlip3D",
    "RandomFlipOneAxis3D",
    "RandomGamma3D",
    "RandomGaussianNoise",
    "RandomLowResolution3D",
    "RandomPatch3D",
    "RandomResize3D",
    "RandomRotate90",
    "RandomScaleShift",
    "RandomShiftCrop3D",
    "RandomSpatial3D",
    "RandomZCrop",
    "RandomZoom3D",
    "Reorient3D",
    "ResampleSpacing3D",
    "Resampling",
    "Resize3D",
    "SpatialTransform",
    "Transform",
    "Window",
    "ZScore",
    "colours_to_slices",
    "mixed",
    "undo",
    "window_affine",
]
