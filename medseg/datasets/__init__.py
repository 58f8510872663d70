"""Segmentation data sets: MSD's and nnU-Net's layouts, the published sets, LIDC crops, GI tract slices, phantoms."""

from medseg.datasets.base import VolumeSegmentation
from medseg.datasets.gi_tract import GITract
from medseg.datasets.layouts import Case, Layout, read_layout
from medseg.datasets.lidc import LIDCSegmentation
from medseg.datasets.msd import MSD
from medseg.datasets.phantoms import PhantomGITract, PhantomOrgans, write_organs_msd
from medseg.datasets.published import ACDC, BTCV, LiTS

__all__ = [
    "ACDC",
    "BTCV",
    "MSD",
    "Case",
    "GITract",
    "LIDCSegmentation",
    "Layout",
    "LiTS",
    "PhantomGITract",
    "PhantomOrgans",
    "VolumeSegmentation",
    "read_layout",
    "write_organs_msd",
]
