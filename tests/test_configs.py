"""Every shipped config is found, built at full size, shrunk, trained for a step, validated and tested."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from torch.utils.data import Dataset

from vdt3d.datasets.base import built
from vdt3d.engine import Runner
from vdt3d.registry import DATASETS, HOOKS, MODELS
from vdt3d.structures import Sample, Volume

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(
    path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.py") if "_base_" not in path.parts
)
PICTURE_SETS = ("ImageFolder", "mmpretrain.ImageNet", "FractalPictures")


@DATASETS.register_module()
class TinyCases(Dataset):
    """Four made-up cases behind the pipeline of a config: JPEG files or volumes, as its data set hands them over."""

    def __init__(self, kind: str, pipeline: list[dict], folder: str):
        self.pictures, self.pipeline, self.folder = kind in PICTURE_SETS, built(pipeline), Path(folder)
        self.side = 28 if kind == "MedMNIST3D" else 64

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict:
        data, target = self._picture(index) if self.pictures else self._volume(index), index % 2
        if self.pictures:
            data["gt_label"] = target
        else:
            data = data.replace(target=target)
        for transform in self.pipeline:
            data = transform(data)
        return data

    def targets(self) -> list[int]:
        return [0, 1, 0, 1]

    def _picture(self, index: int) -> dict:
        path = self.folder / f"{index}.jpg"
        size = 32 if any("RandomCrop" in str(t) or len(self.pipeline) < 4 for t in self.pipeline) else 256
        cv2.imwrite(str(path), np.random.default_rng(index).integers(0, 256, (size, size, 3), dtype=np.uint8))
        return {"img_path": str(path)}

    def _volume(self, index: int) -> Sample:
        array = np.random.default_rng(index).integers(0, 256, (1, *[self.side] * 3)).astype(np.float32)
        return Sample(Volume(array), name=f"case{index}")


@HOOKS.register_module()
class StopAfterAnEpoch(Hook):
    def after_train_epoch(self, runner: Runner) -> None:
        runner.train_loop.stop_training = True


def shrink(config: Config, folder: Path) -> Config:
    """The same model, narrow, on four cases, for an epoch of two steps."""
    config.model.backbone.base_channels = 8
    if config.model.type == "ImageClassifier":
        config.model.backbone.stem_channels = 8
        config.model.head.in_channels = 64
    for split in ("train", "val", "test"):
        loader = config[f"{split}_dataloader"]
        tiny = dict(type="TinyCases", kind=loader.dataset.type, pipeline=loader.dataset.pipeline, folder=str(folder))
        config[f"{split}_dataloader"] = dict(batch_size=2, num_workers=0, sampler=loader.sampler, dataset=tiny)
    config.work_dir, config.load_from = str(folder), None
    config.train_cfg.val_interval = 1
    config.custom_hooks = [dict(type="StopAfterAnEpoch")]
    config.visualizer = None
    return config


def test_the_configs_are_found():
    assert len(CONFIGS) == 19, CONFIGS


@pytest.mark.parametrize("path", CONFIGS)
def test_config_builds_and_takes_a_step(path: str, tmp_path: Path):
    config = Config.fromfile(ROOT / path, lazy_import=False)
    if config.model.backbone.depth <= 34:  # the deep ones are built narrow only: hundreds of megabytes each
        MODELS.build(config.model)
    runner = Runner.from_cfg(shrink(config, tmp_path))
    runner.train()
    assert runner.iter == 2
    assert np.isfinite(runner.message_hub.get_scalar("train/loss").data[0]).all()
    scores = runner.test()
    assert 0 <= scores.get("accuracy", scores.get("accuracy/top1")) <= 100
    assert (tmp_path / "epoch_1.pth").exists() or config.default_hooks.checkpoint.interval > 1


@pytest.mark.parametrize("path", CONFIGS)
def test_the_first_line_says_what_it_is(path: str):
    assert (ROOT / path).read_text().startswith("# ")
