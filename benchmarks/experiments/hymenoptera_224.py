"""The 224-pixel pipeline on real photographs of natural sizes: a few hundred steps, the loss falling.

VDT3D_REAL_DATA=... python benchmarks/experiments/hymenoptera_224.py WORK_DIR
"""

import json
import sys
from pathlib import Path

import record

CONFIG = "configs/imagenet_pretrain/resnet3d-18_vdt_1xb16-cos-20e_image-folder.py"


def main(work_dir: Path) -> None:
    data = record.real_data("hymenoptera_256")
    parts = {"train": "train", "val": "val", "test": "val"}
    options = [f"{loader}_dataloader.dataset.data_root={data / part}" for loader, part in parts.items()]
    options.append("model.backbone.base_channels=16")
    record.once("hymenoptera_224", {"config": CONFIG}, lambda: run(work_dir, options))


def run(folder: Path, options: list[str]) -> dict:
    history = record.train(CONFIG, folder, *options, arguments=("--amp",))
    log = max(folder.glob("*/vis_data/scalars.json"))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    fifth = len(losses) // 5
    return {
        "steps": max(line["step"] for line in lines if "loss" in line),
        "loss_first_fifth": round(sum(losses[:fifth]) / fifth, 4),
        "loss_last_fifth": round(sum(losses[-fifth:]) / fifth, 4),
        "val_top1": [round(line["accuracy/top1"], 1) for line in history if line["split"] == "val"],
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
