"""Fine-tuning on AdrenalMNIST3D (28 voxels, official split) from a VDT checkpoint and from scratch, three seeds each.

VDT3D_REAL_DATA=... python benchmarks/experiments/adrenal_finetuning.py WORK_DIR VDT_CHECKPOINT
The epoch is chosen by the AUC on the validation split; that checkpoint is tested once.
"""

import sys
from pathlib import Path

import record

CONFIG = "configs/medmnist/resnet3d-18w16_scratch_1xb32-cos-30e_adrenalmnist3d.py"
KEPT = (
    "auc",
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "accuracy_at_threshold",
    "auc_low",
    "auc_high",
)


def main(work_dir: Path, checkpoint: Path) -> None:
    data = record.real_data("adrenalmnist3d")
    for seed in range(3):
        for arm in ("scratch", "vdt"):
            options = [f"{loader}_dataloader.dataset.data_root={data}" for loader in ("train", "val", "test")]
            options += [f"randomness.seed={seed}", f"init={arm}"]
            options += [f"load_from={checkpoint.resolve()}"] if arm == "vdt" else []
            key = {"arm": arm, "seed": seed}
            folder = work_dir / f"{arm}-{seed}"
            record.once("adrenal_finetuning", key, lambda f=folder, o=tuple(options): run(CONFIG, f, o))


def run(config: str, folder: Path, options: tuple[str, ...]) -> dict:
    history = record.train(config, folder, *options)
    scores = record.test(config, folder / "best_auc.pth", *options)
    best = max((line for line in history if line["split"] == "val"), key=lambda line: line["auc"])
    return {
        "config": config,
        "epoch": best["epoch"],
        "val_auc": round(best["auc"], 4),
        **{f"test_{name}": round(scores[name], 4) for name in KEPT},
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
