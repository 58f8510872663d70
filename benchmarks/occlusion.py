"""Occlusion of many windows at once against one at a time: seconds, and whether the maps agree.

One at a time is what captum does unless told otherwise; 64 at once, of a network stored channels-last, is what
``vdt3d explain`` does. Times are taken in turns in one run.

    python benchmarks/occlusion.py [--device cuda] [--side 32] [--depth 50] [--width 16] [--threads 1]
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from vdt3d.cli.config import quiet_imports
from vdt3d.explain import class_score, occlusion
from vdt3d.utils.memory_format import to_channels_last


def main() -> None:
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    network = classifier(args.depth, args.width).to(args.device)
    stored = copy.deepcopy(network)
    to_channels_last(stored)
    image = torch.randn(1, args.side, args.side, args.side, device=args.device)
    window = (args.side // 8,) * 3
    score, fast = (class_score(partial(each, mode="tensor"), 1) for each in (network, stored))
    ways = {
        "one at a time": partial(occlusion, score, image, window=window, batch=1),
        "64 at once": partial(occlusion, fast, image, window=window, batch=64),
    }
    maps = [way() for way in ways.values()]  # and so libraries are warm
    apart = float((maps[0] - maps[1]).abs().max() / maps[0].abs().max())
    rounds = [{name: timed(way) for name, way in ways.items()} for _ in range(args.rounds)]
    seconds = {name: statistics.median(turn[name] for turn in rounds) for name in ways}
    ratio = statistics.median(turn["one at a time"] / turn["64 at once"] for turn in rounds)
    print(f"{', '.join(f'{name} {value:.2f} s' for name, value in seconds.items())}: {ratio:.1f} times as fast")
    print(f"the maps differ by {apart:.1e} of their greatest value at most")
    print(json.dumps({"settings": vars(args), "seconds": seconds, "ratio": ratio, "apart": apart}))


def classifier(depth: int, width: int) -> nn.Module:
    quiet_imports()
    import vdt3d.models  # noqa: F401
    from vdt3d.registry import MODELS

    backbone = dict(type="ResNet3D", depth=depth, base_channels=width, depth_stride=True, zero_init_residual=False)
    neck, head = dict(type="GlobalAveragePooling", dim=3), dict(type="LinearClsHead", num_classes=2)
    return MODELS.build(dict(type="VolumeClassifier", backbone=backbone, neck=neck, head=head)).eval()


def timed(way: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    float(way().sum())  # waits for the device
    return time.perf_counter() - start


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as torch takes by itself")
    return parser.parse_args()


if __name__ == "__main__":
    main()
