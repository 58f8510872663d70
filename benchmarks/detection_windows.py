"""Windows of DeepLesion for training: nine slices from the prepared cache, beside nine pictures opened with OpenCV.

Series in DeepLesion's form are made up (16-bit PNG with noise, slices 5, 1, 2.5, 1.25 and 2 mm apart), prepared as
``tools/dataset/prepare.py deeplesion`` would, and read in one shuffled order by every arm, in turns within one process
and thread; each sample ends as float32 Hounsfield units (1, 9, H, W). Files are in the page cache. The arms:

    pictures   OpenCV opens the key slice and its four neighbours on either side: nine pictures, nothing mixed
    folder     DeepLesion over the pictures: the slices that 2.5 mm want, each once, checksums looked at, and mixed
    prepared   DeepLesion over the cache, as the configs train

    python benchmarks/detection_windows.py --series 10 --rounds 7
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from vdt3d.datasets import DeepLesion
from vdt3d.datasets.prepare import prepare_deeplesion
from vdt3d.datasets.synthetic import write_deeplesion_like
from vdt3d.io.series import ZERO_HU

PICTURES = "pictures"
AROUND = 4  # slices on either side of the key slice


def main() -> None:
    args = parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        root = write_deeplesion_like(Path(folder, "like"), series=args.series, slices=args.depth, side=args.side)
        report = prepare_deeplesion(root, root, workers=1)
        if report.problems:
            raise SystemExit(str(report.problems))
        plain, cached = DeepLesion(root), DeepLesion(root, prepared="prepared")
        arms = {PICTURES: from_pictures(plain), "folder": windows_of(plain), "prepared": windows_of(cached)}
        order = np.random.default_rng(0).permutation(len(plain)).tolist()
        for index in order:
            check(*(read(index) for read in arms.values()))
        rounds = [{name: seconds(read, order) for name, read in arms.items()} for _ in range(args.rounds)]
    print(f"9 slices of {args.side} pixels, {len(order)} series, {args.rounds} rounds")
    for name in arms:
        ratio = statistics.median(each[PICTURES] / each[name] for each in rounds)
        rate = len(order) / statistics.median(each[name] for each in rounds)
        print(f"{name:9} {rate:8.1f} windows a second {ratio:6.2f} x pictures")


def from_pictures(data: DeepLesion) -> Callable[[int], np.ndarray]:
    """A plain loader: nine pictures, stacked."""

    def read(index: int) -> np.ndarray:
        key = Path(data.get_data_info(index)["path"])
        numbers = range(int(key.stem) - AROUND, int(key.stem) + AROUND + 1)
        planes = [cv2.imread(str(key.with_name(f"{number:03d}.png")), cv2.IMREAD_UNCHANGED) for number in numbers]
        return np.stack(planes).astype(np.float32)[None] - ZERO_HU

    return read


def windows_of(data: DeepLesion) -> Callable[[int], np.ndarray]:
    return lambda index: np.asarray(data[index].image.array)


def check(pictures: np.ndarray, folder: np.ndarray, prepared: np.ndarray) -> None:
    """Both ways of ours read the same, and all the same key slice."""
    if not np.array_equal(folder, prepared) or not np.array_equal(folder[:, AROUND], pictures[:, AROUND]):
        raise SystemExit("the arms read different samples")


def seconds(read: Callable[[int], object], order: list[int]) -> float:
    start = time.perf_counter()
    for index in order:
        read(index)
    return time.perf_counter() - start


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--series", type=int, default=10)
    parser.add_argument("--side", type=int, default=512, help="pixels of a side")
    parser.add_argument("--depth", type=int, default=21, help="slices of a series")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", help="where temporary files go (default: the system's)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
