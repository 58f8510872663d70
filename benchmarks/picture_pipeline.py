"""Pictures per second and core, from JPEG files of 500x375 to crops of 224: mmpretrain's pipeline and torchvision's.

The two take turns over the same files (A B, A B, ...); the ratio is the median over the rounds. One thread each, as in
a worker of a data loader.

    python benchmarks/picture_pipeline.py --pictures 200 --rounds 7
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.dataset import Compose
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2

from vdt3d.registry import TRANSFORMS


def main() -> None:
    args = parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    pipelines = {"mmpretrain": mmpretrain_pipeline(), "torchvision": torchvision_pipeline()}
    with tempfile.TemporaryDirectory() as folder:
        paths = write_pictures(Path(folder), args.pictures)
        for pipeline in pipelines.values():
            rate(pipeline, paths)  # warm up: the files are in memory from here on
        rounds = [{name: rate(pipeline, paths) for name, pipeline in pipelines.items()} for _ in range(args.rounds)]
    for name in pipelines:
        pictures = statistics.median(rates[name] for rates in rounds)
        ratio = statistics.median(rates[name] / rates["mmpretrain"] for rates in rounds)
        print(f"{name:12} {pictures:7.1f} pictures/s/core   {ratio:5.2f} x mmpretrain")
        print(json.dumps({"pipeline": name, "pictures_per_second": pictures, "ratio": ratio}))


def mmpretrain_pipeline() -> Callable[[str], torch.Tensor]:
    """What the configs of configs/imagenet_pretrain use."""
    steps = [
        {"type": "LoadImageFromFile"},
        {"type": "mmpretrain.RandomResizedCrop", "scale": 224},
        {"type": "RandomFlip", "prob": 0.5, "direction": "horizontal"},
        {"type": "RandomChannelShuffle"},
        {"type": "mmpretrain.PackInputs"},
    ]
    pipeline = Compose([TRANSFORMS.build(step) for step in steps])
    return lambda path: pipeline({"img_path": path, "gt_label": 0})["inputs"]


def torchvision_pipeline() -> Callable[[str], torch.Tensor]:
    """The same steps by torchvision's decoder and transforms."""
    transform = v2.Compose([v2.RandomResizedCrop(224), v2.RandomHorizontalFlip(), v2.RandomChannelPermutation()])
    return lambda path: transform(decode_jpeg(read_file(path), mode=ImageReadMode.RGB))


def rate(pipeline: Callable[[str], torch.Tensor], paths: list[str]) -> float:
    start = time.perf_counter()
    for path in paths:
        if pipeline(path).shape != (3, 224, 224):
            raise RuntimeError(f"{path} did not become a crop of 224")
    return len(paths) / (time.perf_counter() - start)


def write_pictures(folder: Path, count: int) -> list[str]:
    """Soft shapes with grain, about as large as ImageNet's files (some 100 kB)."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        shapes = cv2.resize(
            rng.integers(256, size=(12, 16, 3), dtype=np.uint8), (500, 375), interpolation=cv2.INTER_CUBIC
        )
        grain = rng.normal(0, 12, shapes.shape)
        paths.append(str(folder / f"{number}.jpg"))
        cv2.imwrite(paths[-1], np.clip(shapes + grain, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])
    return paths


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args()


if __name__ == "__main__":
    main()
