"""What 2D kernels on volumes cost: ACS beside its three convolutions, 2.5D beside Conv3d, conversion beside loading.

The arms of a row take turns within one process (A B, A B, ...), so that whatever else the machine does meets all of
them; a ratio is the median over the rounds.

    python benchmarks/from_2d.py --channels 32 --size 48 --rounds 15
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from vdt3d.models.inflate import to_3d
from vdt3d.models.layers import ACSConv3d, SafeConv3d
from vdt3d.models.weights.files import read_checkpoint


def main() -> None:
    args = parse_args()
    torch.manual_seed(0)
    print(f"{torch.get_num_threads()} threads, {args.channels} channels, {args.size}^3, forward and backward")
    x = torch.randn(1, args.channels, *[args.size] * 3)
    for stride in (1, 2):
        acs = ACSConv3d(args.channels, args.channels, 3, stride, padding=1)
        flat = SafeConv3d(args.channels, args.channels, (1, 3, 3), stride, (0, 1, 1))
        cubic = torch.nn.Conv3d(args.channels, args.channels, 3, stride, 1)
        arms = {
            "three convolutions": lambda acs=acs: in_three(acs, x),
            "ACS": lambda acs=acs: acs(x),
            "Conv3d": lambda cubic=cubic: cubic(x),
            "2.5D": lambda flat=flat: flat(x),
        }
        seconds = take_turns({name: stepper(arm) for name, arm in arms.items()}, args.rounds)
        print(
            f"stride {stride}: ACS takes {ratio(seconds, 'ACS', 'three convolutions'):.2f} of its three convolutions, ",
            end="",
        )
        print(f"{ratio(seconds, 'ACS', 'Conv3d'):.2f} of Conv3d; 2.5D {ratio(seconds, '2.5D', 'Conv3d'):.2f} of Conv3d")
    network = torchvision.models.resnet50(weights=None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet50.pth"
        torch.save(network.state_dict(), path)
        for how in ("i3d", "acs", "2.5d"):
            steps = {"load": lambda: read_checkpoint(path), "convert": lambda how=how: to_3d(network, how)}
            seconds = take_turns(steps, 5)
            print(f"ResNet-50: {how} takes {ratio(seconds, 'convert', 'load'):.1f} times as long as reading its file")


def in_three(acs: ACSConv3d, x: Tensor) -> Tensor:
    """The three convolutions an ACS convolution stands for, written out."""
    shares = [acs.out_channels // 3 + (part < acs.out_channels % 3) for part in range(3)]
    weights, biases = acs.weight.split(shares), acs.bias.split(shares)
    parts = [
        F.conv3d(
            x, w.unsqueeze(2 + plane), b, (acs.depth_stride, *acs.stride), [int(axis != plane) for axis in range(3)]
        )
        for plane, (w, b) in enumerate(zip(weights, biases, strict=True))
    ]
    return torch.cat(parts, dim=1)


def stepper(answer: Callable[[], Tensor]) -> Callable[[], None]:
    return lambda: answer().square().mean().backward()


def take_turns(steps: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every step in every round, after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: dict[str, list[float]], arm: str, peer: str) -> float:
    return statistics.median(a / b for a, b in zip(seconds[arm], seconds[peer], strict=True))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=15)
    return parser.parse_args()


if __name__ == "__main__":
    main()
