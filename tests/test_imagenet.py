"""ImageNet folders, through mmpretrain's data set and the pipeline of our config, become volumes of three slices."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from vdt3d.datasets import ImageNet
from vdt3d.io import ScanError
from vdt3d.registry import DATASETS

BASE = Path(__file__).resolve().parents[1] / "configs/_base_/datasets/imagenet_vdt.py"


def test_folders_are_read_as_volumes(tmp_path: Path):
    picture = tmp_path / "blue.png"
    cv2.imwrite(str(picture), np.full((300, 400, 3), (255, 0, 0), np.uint8))  # blue, as OpenCV orders colours
    for split in ("train", "val"):
        for number in range(1000):  # mmpretrain counts the folders
            folder = tmp_path / split / f"n{number:08d}"
            folder.mkdir(parents=True)
            os.link(picture, folder / "0.JPEG")
    config = Config.fromfile(BASE, lazy_import=False)
    with DefaultScope.overwrite_default_scope("vdt3d"):
        train, val = (
            DATASETS.build({**config[f"{split}_dataloader"].dataset, "data_root": str(tmp_path)})
            for split in ("train", "val")
        )
    assert (len(train), len(val)) == (1000, 1000)
    sample = val[7]
    assert sample["inputs"].shape == (1, 3, 224, 224)
    assert [int(sample["inputs"][0, z, 0, 0]) for z in range(3)] == [0, 0, 255]  # slices in the order red, green, blue
    assert int(sample["data_samples"].gt_label) == 7
    shuffled = {tuple(train[0]["inputs"][0, :, 0, 0].tolist()) for _ in range(30)}
    assert shuffled == {(255, 0, 0), (0, 255, 0), (0, 0, 255)}
    assert train[0]["inputs"].dtype is torch.uint8
    (tmp_path / "val/n00000007/0.JPEG").unlink()
    (tmp_path / "val/n00000007/0.JPEG").write_bytes(b"")
    with pytest.raises(ScanError, match=r"n00000007.0.JPEG: cannot be read as a picture"):
        val[7]


def test_a_subset_is_refused_with_the_config_that_takes_it(tmp_path: Path):
    for name in ("n01440764", "n01443537"):
        (tmp_path / "train" / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "train" / name / "0.JPEG"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError) as refused:
        ImageNet(str(tmp_path), split="train")
    said = str(refused.value)
    assert str(tmp_path / "train") in said and "2 class folders" in said and "1000" in said
    config = next(word for word in said.split() if word.startswith("configs/"))
    assert (BASE.parents[3] / config).is_file() and "num_classes=2" in said
    with pytest.raises(ValueError, match="no folder"):
        ImageNet(str(tmp_path), split="val")
