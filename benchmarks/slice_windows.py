"""Windows of slices for training: from the prepared cache, beside a plain loader that opens N pictures a sample.

Scans in the layout of the UW-Madison GI Tract challenge are made up (16-bit PNG, noise of their own), prepared as
``tools/dataset/prepare.py gi_tract`` would, and read in one shuffled order by every arm, in turns within one process;
each sample ends as a float32 tensor of N slices and the labels of one. Files are in the page cache. The arms:

    pictures   Pillow opens the N pictures and NumPy stacks them, labels come from a .npy of each slice, as the
               challenge's public solutions share them
    folder     SliceWindows over the pictures as they were released, run-length masks out of train.csv
    prepared   SliceWindows over the cache, as the configs train

    python benchmarks/slice_windows.py --slices 5 --samples 200 --rounds 7
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from medseg.datasets import GITract
from medseg.datasets.gi_slices import write_gi_like
from medseg.datasets.prepare import prepare
from vdt3d.datasets import SliceWindows
from vdt3d.structures import SegmentationSample, SliceWindow
from vdt3d.transforms import PackSegmentation

PICTURES = "pictures"


def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        root = write_gi_like(Path(folder, "gi"), cases=2, days=2, slices=args.depth, side=args.side)
        report = prepare("gi_tract", root, root, workers=1)
        if report.problems:
            raise SystemExit(str(report.problems))
        arms = {PICTURES: from_pictures(root, args.slices)}
        for name, options in (("folder", {}), ("prepared", {"prepared": "prepared"})):
            data = SliceWindows(
                GITract(root, split="all", **options), window={"slices": args.slices}, pipeline=[PackSegmentation()]
            )
            arms[name] = windows_of(data)
        count = len(data)
        order = np.random.default_rng(0).permutation(count)[: args.samples]
        for read in arms.values():
            check(read(int(order[0])), arms[PICTURES](int(order[0])))
        rounds = [{name: seconds(read, order) for name, read in arms.items()} for _ in range(args.rounds)]
    print(f"{args.slices} slices of {args.side} pixels and more, {len(order)} samples of {count}, {args.rounds} rounds")
    for name in arms:
        ratio = statistics.median(each[PICTURES] / each[name] for each in rounds)
        per_second = len(order) / statistics.median(each[name] for each in rounds)
        print(f"{name:9} {per_second:8.0f} samples a second {ratio:6.2f} x pictures")


def from_pictures(root: Path, slices: int) -> Callable[[int], tuple[torch.Tensor, torch.Tensor]]:
    """A plain loader: lists of paths, Pillow, NumPy."""
    window, samples = SliceWindow(slices), []
    labelled = GITract(root, split="all")
    for case in labelled:
        paths = sorted((root / "train" / case.name.partition("_")[0] / case.name / "scans").glob("*.png"))
        masks = []
        for path, plane in zip(paths, case.label_map.array[0], strict=True):
            masks.append(path.with_suffix(".npy"))
            np.save(masks[-1], np.stack([plane & bit for bit in (1, 2, 4)], axis=-1).astype(np.uint8) > 0)
        for position in range(len(paths)):
            places = window.positions(position, len(paths), 1)
            samples.append(([paths[place] for place in places], masks[position]))

    def read(index: int) -> tuple[torch.Tensor, torch.Tensor]:
        paths, mask = samples[index]
        image = np.stack([np.array(Image.open(path)) for path in paths]).astype(np.float32)
        bits = np.load(mask) @ np.array([1, 2, 4], np.uint8)
        return torch.from_numpy(image), torch.from_numpy(bits)

    return read


def windows_of(data: SliceWindows) -> Callable[[int], tuple[torch.Tensor, torch.Tensor]]:
    def read(index: int) -> tuple[torch.Tensor, torch.Tensor]:
        packed = data[index]
        sample: SegmentationSample = packed["data_samples"]
        return packed["inputs"][0], sample.gt_labels[data.window.answered[0]]

    return read


def check(found: tuple[torch.Tensor, ...], wanted: tuple[torch.Tensor, ...]) -> None:
    """All arms give the same sample, but for the margins that preparing cuts away."""
    if not found[0].sum() == wanted[0].sum() or not torch.equal(found[1].unique(), wanted[1].unique()):
        raise SystemExit("the arms read different samples")


def seconds(read: Callable[[int], object], order: np.ndarray) -> float:
    start = time.perf_counter()
    for index in order:
        read(int(index))
    return time.perf_counter() - start


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--slices", type=int, default=5)
    parser.add_argument("--side", type=int, default=266, help="pixels of the shorter side")
    parser.add_argument("--depth", type=int, default=144, help="slices of a scan")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", help="where temporary files go (default: the system's)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
