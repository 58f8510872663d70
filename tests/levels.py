"""A segmentor of one weight, its config and its checkpoints, and scans with a bright box that it labels."""

from pathlib import Path

import numpy as np
import torch
from mmengine.model import BaseModel

import vdt3d.inference
import vdt3d.models
import vdt3d.transforms  # noqa: F401
from vdt3d.io import write_nifti
from vdt3d.models.weights.files import write_checkpoint
from vdt3d.registry import MODELS, TASK_UTILS
from vdt3d.structures import Volume

BOX = (slice(3, 7), slice(4, 12), slice(5, 17))
# An oblique grid of 2 x 1 x 1 mm: z and y are turned into one another by asin(0.6), x points to the left.
AFFINE = np.array([[0.0, 0.0, -1.0, 40.0], [1.2, 0.8, 0.0, -5.0], [1.6, -0.6, 0.0, 7.0], [0.0, 0.0, 0.0, 1.0]])


@MODELS.register_module()
class LevelSegmentor(BaseModel):
    """Class 1 is what lies above a level, its only weight; the further above, the likelier."""

    def __init__(self, inferer: dict, data_preprocessor: dict | None = None):
        super().__init__(MODELS.build(dict(type="VolumeDataPreprocessor")))
        self.level = torch.nn.Parameter(torch.zeros(1))
        self.inferer = TASK_UTILS.build(inferer)

    def forward(self, inputs, data_samples=None, mode="tensor"):
        if mode == "tensor":
            return torch.cat([self.level - inputs, inputs - self.level], dim=1)
        for image, sample in zip(inputs, data_samples, strict=True):
            sample.pred_labels = self.inferer.segment(self, image, sample)
        return data_samples


def write_config(folder: Path) -> str:
    """The pipeline turns, crops, resamples, scales and pads."""
    text = """
model = dict(type="LevelSegmentor", inferer=dict(type="SlidingWindow", window=(8, 12, 12)))
test_dataloader = dict(dataset=dict(type="VolumeSegmentation", reader=dict(nan="zero"), pipeline=[
    dict(type="Reorient3D"), dict(type="CropForeground3D", margin=3),
    dict(type="ResampleSpacing3D", spacing=(1, 0.5, 1)), dict(type="Normalize3D", mean=0.0, std=100.0),
    dict(type="Pad3D", size=16), dict(type="PackSegmentation")]))
"""
    path = folder / "config.py"
    path.write_text(text)
    return str(path)


def weights(folder: Path, level: float, **meta) -> str:
    path = folder / f"level_{level}.pth"
    write_checkpoint({"state_dict": {"level": torch.tensor([level])}, "meta": meta}, path)
    return str(path)


def write_scan(path: Path, value: float = 100) -> Volume:
    array = np.zeros((1, 10, 18, 22), np.float32)
    array[0][BOX] = value
    scan = Volume(array, AFFINE)
    path.parent.mkdir(exist_ok=True)
    write_nifti(scan, path)
    return scan
