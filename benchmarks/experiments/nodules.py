"""Lung nodules in crops of LIDC's format: the LIDC network, narrow, from scratch on its own split of real CT.

VDT3D_REAL_DATA=... python benchmarks/experiments/nodules.py WORK_DIR [--seeds ...]
The checkpoint is chosen on the validation crops and tested once.
"""

import json
from argparse import ArgumentParser
from pathlib import Path

import record

CONFIG = "configs/lidc/resnet3d-18w16-fcn_scratch_1xb4-poly-1k_sjtu-nodules.py"


def main(work_dir: Path, seeds: list[int]) -> None:
    data = record.real_data("sjtu_m3dv_nodules")
    for seed in seeds:
        record.once("nodules", {"seed": seed}, lambda s=seed: arm(data, work_dir / f"seed-{s}", s))


def arm(data: Path, folder: Path, seed: int) -> dict:
    """Train, choose, and test once."""
    lists = [f"{part}_dataloader.dataset.split_file={data / 'split.json'}" for part in ("train", "val", "test")]
    roots = [f"{part}_dataloader.dataset.data_root={data}" for part in ("train", "val", "test")]
    options = [f"randomness.seed={seed}", *lists, *roots]
    history = record.train(CONFIG, folder, *options, arguments=("--amp",))
    cases = folder / "cases.json"
    scores = record.test(CONFIG, folder / "best_dice.pth", *options, f"test_evaluator.out={cases}")
    return {
        "config": CONFIG,
        "val_dice": [round(line["dice"], 4) for line in history if line["split"] == "val"],
        **{name: round(scores[name], 4) for name in ("dice", "dice_low", "dice_high", "dice_pooled", "hd95", "nsd")},
        "cases": {
            name: round(case["nodule"]["dice"], 4) for name, case in json.loads(cases.read_text())["cases"].items()
        },
    }


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    args = parser.parse_args()
    main(args.work_dir, args.seeds)
