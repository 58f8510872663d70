"""Data made on the spot, so that everything can be tried without a download: fractal pictures and CT phantoms."""

from vdt3d.datasets.synthetic.fractals import FractalPictures, write_fractals
from vdt3d.datasets.synthetic.phantom_sets import PhantomNodules, write_nodule_volumes, write_nodules, write_organs

__all__ = [
    "FractalPictures",
    "PhantomNodules",
    "write_fractals",
    "write_nodule_volumes",
    "write_nodules",
    "write_organs",
]
