"""Data sets: folders of pictures, volumes listed in a table, LIDC-IDRI, MedMNIST3D, and data made on the spot."""

from vdt3d.datasets.base import VolumeDataset
from vdt3d.datasets.lidc import LIDCClassification
from vdt3d.datasets.medmnist import MedMNIST3D
from vdt3d.datasets.pictures import ImageFolder
from vdt3d.datasets.slice_windows import SliceWindows
from vdt3d.datasets.synthetic import FractalPictures, PhantomNodules
from vdt3d.datasets.table import VolumeClassification

__all__ = [
    "FractalPictures",
    "ImageFolder",
    "LIDCClassification",
    "MedMNIST3D",
    "PhantomNodules",
    "SliceWindows",
    "VolumeClassification",
    "VolumeDataset",
]
