"""``vdt3d --help`` beside ``python -c 'import torch'``, each in a process of its own, by turns; the ratio of medians.

python benchmarks/help_time.py
"""

import argparse
import statistics
import subprocess
import sys
import time

MEASURED = {
    "import torch": ("-c", "import torch"),
    "vdt3d --help": ("-m", "vdt3d.cli", "--help"),
    "vdt3d train --help": ("-m", "vdt3d.cli", "train", "--help"),
}


def main() -> None:
    args = parse_args()
    for words in MEASURED.values():
        seconds(words)  # from here on their files are in the system's memory
    rounds = [[seconds(words) for words in MEASURED.values()] for _ in range(args.repeats)]
    medians = [statistics.median(each) for each in zip(*rounds, strict=True)]
    for name, median in zip(MEASURED, medians, strict=True):
        print(f"{name:20}{median:.2f} s, {median / medians[0]:.3f} of the first")


def seconds(words: tuple[str, ...]) -> float:
    """What a new interpreter with these words takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    return parser.parse_args()


if __name__ == "__main__":
    main()
