"""Hippocampus slice by slice: the same minutes of a CPU for 2D and 2.5D U-Nets, for small TransSegs, and for 3D.

VDT3D_REAL_DATA=... python benchmarks/experiments/hippocampus_slices.py WORK_DIR [--arms ...] [--seeds ...] [--cost]
    2.5D: as it is. TransSeg: --arms transseg "transseg, 2d" 3d --minutes 10
All from scratch, on 150 cases; the checkpoint is chosen on 30 and reported once on 40, all with left-right flips. With
--cost, once the runs are there and the machine is quiet, a process an arm labels the 40 scans for clock and memory.
"""

import json
import resource
import subprocess
import sys
import time
from argparse import ArgumentParser
from itertools import product
from pathlib import Path

import hippocampus
import numpy as np
import record

WINDOWS = "configs/msd/unet16-5x1_scratch_1xb32-cos-4k_hippocampus.py"
TRANSSEG = "configs/transseg/hippocampus_beit-6x128_upernet.py"
# Of each arm its config and options.
ARMS = {
    "2d": (WINDOWS, ["window.slices=1"]),
    "2.5d, 3 slices": (WINDOWS, ["window.slices=3"]),
    "2.5d, 5 slices": (WINDOWS, []),
    "3d": (hippocampus.CONFIG, []),
}
EVERY = ARMS | {"transseg": (TRANSSEG, []), "transseg, 2d": (TRANSSEG, ["window.slices=1"])}


def main(work_dir: Path, arms: list[str], seeds: list[int], minutes: float, *, cost_only: bool) -> None:
    data = record.real_data("msd_task04_hippocampus")
    for seed, arm in product(seeds, arms):
        folder = work_dir / f"{arm.replace(', ', '-').replace(' ', '-')}-{seed}-{minutes:g}"
        key = {"arm": arm, "seed": seed, "budget_minutes": minutes}
        if cost_only:
            record.once("hippocampus_slices_cost", key, lambda a=arm, f=folder: cost(a, data, f))
        else:
            record.once("hippocampus_slices", key, lambda a=arm, f=folder, s=seed: run(a, data, f, s, minutes))


def run(arm: str, data: Path, folder: Path, seed: int, minutes: float) -> dict:
    train = "dataset" if arm == "3d" else "dataset.dataset"
    config, options = EVERY[arm]
    return hippocampus.our_arm(config, [*hippocampus.data_options(data, train), *options], folder, seed, minutes)


def cost(arm: str, data: Path, folder: Path) -> dict:
    words = [
        sys.executable,
        __file__,
        "--measure",
        str(folder / Path(EVERY[arm][0]).name),
        str(folder / "best_dice.pth"),
    ]
    spoken = subprocess.run([*words, str(data)], check=True, capture_output=True, text=True, cwd=record.ROOT).stdout
    return json.loads(spoken.splitlines()[-1])


def measure(config: str, checkpoint: str, data: str) -> dict:
    """Seconds a scan and the memory that labelling takes, beyond what the process holds with its model loaded."""
    from mmengine.config import Config

    from vdt3d.apis.predictor import Predictor

    loaded = Config.fromfile(config, lazy_import=False)
    loaded.model.test_cfg.inferer.flips = hippocampus.FLIPS
    predictor = Predictor(loaded, checkpoint)
    names = json.loads((Path(data) / "split.json").read_text())["test"]
    scans = [predictor.read(Path(data) / f"imagesTr/{name}.nii.gz") for name in names]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    predictor(scans[0])
    times = []
    for scan in scans:
        start = time.perf_counter()
        predictor(scan)
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    parameters = sum(parameter.numel() for parameter in predictor.model.parameters())
    return {
        "parameters": parameters,
        "seconds_per_scan": round(float(np.median(times)), 3),
        "peak_mib": round(peak / 1024),
        "labelling_mib": round((peak - before) / 1024),
    }


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work_dir", type=Path, nargs="?")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=EVERY)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--cost", action="store_true", help="label the test scans with what is trained, nothing else")
    parser.add_argument("--measure", nargs=3, metavar=("CONFIG", "CHECKPOINT", "DATA"), help="of one process, as json")
    args = parser.parse_args()
    if args.measure:
        sys.stdout.write(json.dumps(measure(*args.measure)) + "\n")
    elif args.work_dir is None:
        parser.error("give WORK_DIR")
    else:
        main(args.work_dir, args.arms, args.seeds, args.minutes, cost_only=args.cost)
