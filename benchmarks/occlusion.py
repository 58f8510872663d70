"""Occlusion of many windows at once against one at a time: seconds, and whether the maps agree.

captum's ``Occlusion`` asks one by one unless told otherwise, and makes a mask of the whole image for each window; ours
paints within the window, and asks in batches of a network stored channels-last. Times are taken in turns in one run.

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
from captum.attr import Occlusion
from torch import Tensor, nn

from vdt3d.cli.config import quiet_imports
from vdt3d.engine.runner import to_channels_last
from vdt3d.explain import class_score, occlusion


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
        "captum, one at a time": lambda: by_captum(score, image, window, 1),
        "captum, 64 at once": lambda: by_captum(score, image, window, 64),
        "ours, one at a time": lambda: occlusion(score, image, window=window, batch=1),
        "ours, 64 at once": lambda: occlusion(fast, image, window=window, batch=64),
    }
    maps = {name: way() for name, way in ways.items()}  # and so libraries are warm
    reference = maps["captum, one at a time"]
    apart = max(float((each - reference).abs().max() / reference.abs().max()) for each in maps.values())
    rounds = [{name: timed(way) for name, way in ways.items()} for _ in range(args.rounds)]
    seconds = {name: statistics.median(turn[name] for turn in rounds) for name in ways}
    last = "ours, 64 at once"
    ratios = {name: statistics.median(turn[name] / turn[last] for turn in rounds) for name in ways if name != last}
    for name, value in seconds.items():
        print(
            f"{name}: {value:.2f} s" + (f", {ratios[name]:.1f} times as long as ours at once" if name in ratios else "")
        )
    print(f"the maps differ by {apart:.1e} of their greatest value at most")
    print(json.dumps({"settings": vars(args), "seconds": seconds, "ratios": ratios, "apart": apart}))


def by_captum(score: Callable[[Tensor], Tensor], image: Tensor, window: tuple[int, ...], batch: int) -> Tensor:
    size = (1, *window)
    maps = Occlusion(score).attribute(
        image[None], size, strides=size, baselines=float(image.median()), perturbations_per_eval=batch
    )
    return maps[0, 0].float()


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
