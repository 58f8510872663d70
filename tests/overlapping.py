"""Two organs that overlap, in tiny volumes: a data set, a segmentor whose scores are the image, and their config."""

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.data import Dataset

import medseg.evaluation
import medseg.models  # noqa: F401
from vdt3d.models import FeatureInfo
from vdt3d.registry import DATASETS, MODELS
from vdt3d.structures import LabelMap, Sample, Volume, affine_from_spacing, overlapping_classes, overlapping_regions
from vdt3d.transforms import PackSegmentation, Resize3D

ORGANS = ("bowel", "stomach")
SHAPE = (4, 6, 8)


@DATASETS.register_module()
class OverlappingOrgans(Dataset):
    """Cases with an image of two channels, the noisy scores of the two organs on a finer grid than the scan's own."""

    def __init__(self, cases: int = 3):
        self.cases = cases
        self.metainfo = {"classes": overlapping_classes(ORGANS), "regions": overlapping_regions(ORGANS)}

    def __len__(self) -> int:
        return self.cases

    def truth(self, index: int) -> np.ndarray:
        """The labels (D, H, W): two boxes, one a step ahead of the other."""
        labels = np.zeros(SHAPE, np.uint8)
        labels[1:3, 1:4, 1 + index : 5] |= 1
        labels[1:3, 2:5, 3 : 6 + index % 2] |= 2
        return labels

    def __getitem__(self, index: int) -> dict:
        labels, affine = self.truth(index), affine_from_spacing((3.0, 1.5, 1.5))
        rng = np.random.default_rng(index)
        scores = np.stack([np.where(labels & bit, 0.6, -1.5) for bit in (1, 2)]) + rng.normal(size=(2, *SHAPE))
        sample = Sample(Volume(scores.astype(np.float32), affine), reference=LabelMap(labels[None], affine))
        fine = Resize3D((8, 12, 16))(sample.replace(name=f"case{index}", group=f"case{index}"))
        return PackSegmentation()(fine)


@DATASETS.register_module()
class Forbidden(Dataset):
    """A data set that nobody may build."""

    def __init__(self):
        raise AssertionError("the test cases are not to be looked at")


@MODELS.register_module()
class ScoresAsTheyAre(BaseModule):
    """Answers its input, times a weight of 1."""

    def __init__(self, channels: int = 2):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.feature_info = (FeatureInfo("scores", channels, (1, 1, 1)),)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (x * self.weight,)


def loader(kind: str = "OverlappingOrgans", **options) -> dict:
    return dict(
        dataset=dict(type=kind, **options),
        sampler=dict(type="DefaultSampler", shuffle=False),
        batch_size=1,
        num_workers=0,
    )


def config(work_dir: Path, *, thresholds: float | dict | None = None, **changes) -> Config:
    """What validates, and in which a test would stumble; ``changes`` replace whole settings."""
    inferer = dict(type="WholeVolume")
    head = dict(type="PseudoHead", num_classes=4, regions=overlapping_regions(ORGANS))
    settings = dict(
        default_scope="vdt3d",
        work_dir=str(work_dir),
        model=dict(
            type="VolumeSegmentor",
            backbone=dict(type="ScoresAsTheyAre"),
            decode_head=head,
            test_cfg=dict(inferer=inferer) | ({} if thresholds is None else dict(thresholds=thresholds)),
        ),
        val_dataloader=loader(),
        val_cfg=dict(),
        val_evaluator=dict(type="SegmentationScores", surface=False),
        test_dataloader=loader("Forbidden"),
        test_cfg=dict(),
        test_evaluator=dict(type="SegmentationScores"),
        default_hooks=dict(scores=dict(type="ScoresHook")),
    )
    return Config(settings | changes)


def checkpoint(path: Path) -> Path:
    """A file of the model's weights."""
    torch.save({"state_dict": {"backbone.weight": torch.ones(1)}}, path)
    return path
