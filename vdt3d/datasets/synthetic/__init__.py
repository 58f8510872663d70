"""Data made on the spot, so that everything can be tried without a download: fractal pictures, CT and MR phantoms."""

from vdt3d.datasets.synthetic.fractals import FractalPictures, write_fractals
from vdt3d.datasets.synthetic.lesions import LesionPhantoms, PhantomLesions, write_deeplesion_like
from vdt3d.datasets.synthetic.phantom_sets import PhantomNodules, write_nodule_volumes, write_nodules, write_organs
from vdt3d.datasets.synthetic.solids import draw_solids

__all__ = [
    "FractalPictures",
    "LesionPhantoms",
    "PhantomLesions",
    "PhantomNodules",
    "draw_solids",
    "write_deeplesion_like",
    "write_fractals",
    "write_nodule_volumes",
    "write_nodules",
    "write_organs",
]
