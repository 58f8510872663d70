"""Data sets: folders of pictures, volumes in tables, LIDC-IDRI, MedMNIST3D, boxes of lesions, data made on the spot."""

from vdt3d.datasets.base import VolumeDataset
from vdt3d.datasets.deeplesion import DeepLesion, SubVolume, read_box_lists
from vdt3d.datasets.lesion_scans import LesionScans
from vdt3d.datasets.lidc import LIDCClassification
from vdt3d.datasets.medmnist import MedMNIST3D
from vdt3d.datasets.pictures import ImageFolder, ImageNet
from vdt3d.datasets.slice_windows import SliceWindows
from vdt3d.datasets.synthetic import FractalPictures, PhantomLesions, PhantomNodules
from vdt3d.datasets.table import VolumeClassification

__all__ = [
    "DeepLesion",
    "FractalPictures",
    "ImageFolder",
    "ImageNet",
    "LIDCClassification",
    "LesionScans",
    "MedMNIST3D",
    "PhantomLesions",
    "PhantomNodules",
    "SliceWindows",
    "SubVolume",
    "VolumeClassification",
    "VolumeDataset",
    "read_box_lists",
]
