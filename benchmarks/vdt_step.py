"""How much faster a VDT training step of ResNet3D-18 is than the same network as plain Conv3d in float32, on a CPU.

The arms take turns within one process (A B C D, A B C D, ...), so that whatever else the machine does meets all of
them; the ratio is the median over the rounds. Peak memory is that of one step in a process of its own.

    python benchmarks/vdt_step.py --batch 8 --size 224 --rounds 5
"""

import argparse
import json
import re
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
import torch.nn.functional as F

from vdt3d.models import ResNet3D

ARMS = {  # fold the stem, memory format, bfloat16
    "plain float32": (False, torch.contiguous_format, False),
    "ours float32": (True, torch.contiguous_format, False),
    "ours float32 channels_last_3d": (True, torch.channels_last_3d, False),
    "ours bfloat16 channels_last_3d": (True, torch.channels_last_3d, True),
}
PLAIN = next(iter(ARMS))


def main() -> None:
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    steps = {arm: training_step(arm, args.batch, args.size) for arm in ARMS}
    for step in steps.values():
        step()  # warm up
    rounds = [{arm: timed(step) for arm, step in steps.items()} for _ in range(args.rounds)]
    del steps
    print(f"{torch.get_num_threads()} threads, bfloat16 in hardware: {bfloat16_units() or 'none'}")
    for arm in ARMS:
        seconds = statistics.median(times[arm] for times in rounds)
        ratio = statistics.median(times[PLAIN] / times[arm] for times in rounds)
        memory = peak_memory(arm, args.batch, args.size)
        print(f"{arm:32} {seconds:7.3f} s   {ratio:5.2f} x plain   peak {memory:5.2f} GiB")
        print(
            json.dumps({"arm": arm, "seconds": seconds, "ratio": ratio, "peak_gib": memory, "units": bfloat16_units()})
        )


def training_step(arm: str, batch: int, size: int) -> Callable[[], None]:
    """A step of SGD on made-up pictures, which need no gradient, with 1000 classes."""
    fold, memory_format, bfloat16 = ARMS[arm]
    torch.manual_seed(0)
    backbone = ResNet3D(18, fold_stem=fold).to(memory_format=memory_format)
    classify = torch.nn.Linear(512, 1000)
    optimizer = torch.optim.SGD([*backbone.parameters(), *classify.parameters()], lr=0.01, momentum=0.9)
    pictures, labels = torch.randn(batch, 3, size, size), torch.randint(1000, (batch,))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = F.cross_entropy(classify(backbone(pictures)[-1].mean((2, 3, 4))), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def timed(step: Callable[[], None]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def peak_memory(arm: str, batch: int, size: int) -> float:
    """GiB of a fresh process that takes one step."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(step_and_measure, arm, batch, size).result()


def step_and_measure(arm: str, batch: int, size: int) -> float:
    training_step(arm, batch, size)()
    # Linux's own account, in KiB: getrusage would begin with what the parent process held.
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 2**20


def bfloat16_units() -> list[str]:
    """The processor's units for bfloat16, by their names in /proc/cpuinfo."""
    path = Path("/proc/cpuinfo")
    flags = set(path.read_text().split()) if path.exists() else set()
    return sorted(flags & {"amx_bf16", "avx512_bf16"})


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224, help="height and width of the pictures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as torch takes by itself")
    return parser.parse_args()


if __name__ == "__main__":
    main()
