"""Labels of a whole scan by SlidingWindow against MONAI's ``sliding_window_inference`` and argmax: time and memory.

Same network, windows and overlap, in one run. Times are taken in turns within one process; peak extra memory is that
of a fresh process, from before the call to its highest point, with an allocator that gives large blocks back at once
(glibc's own rule for this changes as it runs, and with it the figure by a tenth). Voxels whose labels differ are
counted, and those among them whose two best scores are not within 1e-5 of each other, of which there should be none.

    python benchmarks/sliding_window.py                                  # window 96, MONAI's defaults otherwise
    python benchmarks/sliding_window.py --rounds 0 --memory 400 512 512  # memory alone, of a large scan
    python benchmarks/sliding_window.py --real example_ct.nii.gz         # 117 classes, windows of 32, once and 4 times
"""

import argparse
import json
import os
import re
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from vdt3d.inference import SlidingWindow
from vdt3d.io import read_volume

OVERLAP = 0.25  # MONAI's default


def main() -> None:
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.real is not None:
        for repeat in (1, 4):
            compare_memory({"scan": str(args.real), "repeat": repeat}, classes=117, window=32)
        return
    if args.rounds:
        compare_time(args.shape, args.classes, args.window, args.rounds)
    compare_memory({"shape": args.memory or args.shape}, classes=args.classes, window=args.window)


def compare_time(shape: list[int], classes: int, window: int, rounds: int) -> None:
    image, network = made_up(shape), random_network(classes)
    ways = {"monai": monai_labels, "ours": our_labels}
    scores = monai_scores(network, image, window)
    best, second = scores.topk(2, dim=0).values
    answers = {name: way(network, image, window) for name, way in ways.items()}
    differing = torch.from_numpy(answers["monai"] != answers["ours"])
    clear = differing & (best - second >= 1e-5)
    del scores, best, second
    times = [{name: timed(way, network, image, window) for name, way in ways.items()} for _ in range(rounds)]
    seconds = {name: statistics.median(turn[name] for turn in times) for name in ways}
    ratio = statistics.median(turn["monai"] / turn["ours"] for turn in times)
    print(f"{torch.get_num_threads()} threads, {tuple(shape)}, {classes} classes, windows of {window}")
    print(f"monai {seconds['monai']:.2f} s, ours {seconds['ours']:.2f} s: {ratio:.2f} times as fast")
    print(f"{int(differing.sum())} of {differing.numel()} labels differ, {int(clear.sum())} of them not by a tie")
    print(json.dumps({"seconds": seconds, "ratio": ratio, "differ": int(differing.sum()), "clear": int(clear.sum())}))


def compare_memory(scan: dict, classes: int, window: int) -> None:
    peaks = {name: in_fresh_process(extra_memory, name, scan, classes, window) for name in ("monai", "ours")}
    print(f"{scan}, {classes} classes, windows of {window}: peak extra memory", end=" ")
    print(f"monai {peaks['monai']:.3f} GiB, ours {peaks['ours']:.3f} GiB: {peaks['ours'] / peaks['monai']:.3f} of it")
    print(json.dumps({"scan": scan, "peak_extra_gib": peaks, "ratio": peaks["ours"] / peaks["monai"]}))


def our_labels(network: nn.Module, image_CDHW: Tensor, window: int) -> np.ndarray:
    inferer = SlidingWindow((window,) * 3, overlap=OVERLAP, weights="uniform")
    return inferer(network, image_CDHW)


def monai_labels(network: nn.Module, image_CDHW: Tensor, window: int) -> np.ndarray:
    return monai_scores(network, image_CDHW, window).argmax(0).numpy()


@torch.no_grad()
def monai_scores(network: nn.Module, image_CDHW: Tensor, window: int) -> Tensor:
    return sliding_window_inference(image_CDHW[None], (window,) * 3, 1, network, overlap=OVERLAP)[0]


def timed(way: Callable, *args) -> float:
    start = time.perf_counter()
    way(*args)
    return time.perf_counter() - start


def in_fresh_process(function: Callable, *args) -> float:
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(2**20)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def extra_memory(way: str, scan: dict, classes: int, window: int) -> float:
    """GiB by which the process grew at most while it labelled the scan."""
    image = made_up(scan["shape"]) if "shape" in scan else real(scan["scan"], scan["repeat"])
    network = random_network(classes)
    with torch.no_grad():
        network(image[None, :, :window, :window, :window])  # so that libraries are loaded
    before, peak_before = memory("VmRSS"), memory("VmHWM")
    {"monai": monai_labels, "ours": our_labels}[way](network, image, window)
    peak = memory("VmHWM")
    if peak == peak_before:
        raise ValueError("the process was larger before it began: take a larger scan")
    return (peak - before) / 2**20


def memory(name: str) -> int:
    """KiB of this process, by Linux's own account."""
    return int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def made_up(shape: list[int]) -> Tensor:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))


def real(path: str, repeat: int) -> Tensor:
    """The scan, ``repeat`` times along its longest axis, in about the units a network is fed."""
    volume = read_volume(path)
    longest = 1 + int(np.argmax(volume.shape))
    return torch.cat([torch.from_numpy(volume.array).div_(1000)] * repeat, dim=longest)


def random_network(classes: int) -> nn.Module:
    """So small that the time goes into the windows' way in and out rather than into the network."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, classes, 1)).eval()


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=3, default=[192, 240, 240])
    parser.add_argument("--memory", type=int, nargs=3, help="another shape for the comparison of memory")
    parser.add_argument("--classes", type=int, default=14)
    parser.add_argument("--window", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5, help="0: compare memory alone")
    parser.add_argument("--real", type=Path, help="a scan, for the comparison of memory with 117 classes")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as torch takes by itself")
    return parser.parse_args()


if __name__ == "__main__":
    main()
