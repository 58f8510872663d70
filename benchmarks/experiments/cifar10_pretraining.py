"""VDT pre-training on CIFAR-10 pictures: with and without channel shuffle, P3D, and the 2D network of the same width.

VDT3D_REAL_DATA=... python benchmarks/experiments/cifar10_pretraining.py WORK_DIR [ARM ...] [--epochs N] [--processes N]
Choices are made on 1,000 of the 10,000 training pictures; the last checkpoint is tested once on the 2,000. With several
processes each reads its share of a batch of 64 by itself, on one thread.
"""

from argparse import ArgumentParser
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import record

FOLDER = "configs/imagenet_pretrain"
BATCH = 64
TWIN = f"{FOLDER}/resnet-18w16_1xb64-cos-48e_cifar10.py"
ARMS = {  # a config, and what is changed in it
    "vdt": (f"{FOLDER}/resnet3d-18w16_vdt_1xb64-cos-48e_cifar10.py",),
    "2d": (TWIN,),
    "2d, stem 3x3": (TWIN, "model.backbone.type=ResNet_CIFAR"),
    "p3d": (f"{FOLDER}/p3d-18baw16_vdt_1xb64-cos-48e_cifar10.py",),
    "vdt-ordered": (f"{FOLDER}/resnet3d-18w16_vdt-ordered_1xb64-cos-48e_cifar10.py",),
}


def main(work_dir: Path, arms: list[str], epochs: int, seeds: list[int], processes: int) -> None:
    data = record.real_data("cifar10_images_subset")
    options = [
        f"{loader}_dataloader.dataset.data_root={data / part}"
        for loader, part in (("train", "train"), ("val", "train"), ("test", "test"))
    ]
    options.append(f"train_cfg.max_epochs={epochs}")
    if processes > 1:
        options += ["train_dataloader.num_workers=0", f"train_dataloader.batch_size={BATCH // processes}"]
    for arm, seed in product(arms or ARMS, seeds):
        folder = work_dir / (f"{arm}-{epochs}-seed{seed}" if seed else f"{arm}-{epochs}")
        config, *changes = ARMS[arm]
        folder = folder if processes == 1 else folder.with_name(f"{folder.name}-of-{processes}")
        changed = (*options, *changes, f"randomness.seed={seed}")
        record.once(
            "cifar10_pretraining",
            {"arm": arm, "epochs": epochs, "seed": seed, "processes": processes},
            lambda c=config, f=folder, o=changed: run(c, f, o, processes),
        )


def run(config: str, folder: Path, options: Sequence[str], processes: int) -> dict:
    history = record.train(config, folder, *options, processes=processes)
    checkpoint = folder / (folder / "last_checkpoint").read_text()
    scores = record.test(config, checkpoint, *options)
    return {
        "config": config,
        "val_top1": [round(line["accuracy/top1"], 2) for line in history if line["split"] == "val"],
        "test_top1": round(scores["accuracy/top1"], 2),
    }


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("arms", nargs="*", metavar="ARM", help=f"of {', '.join(ARMS)}; all when left out")
    parser.add_argument("--epochs", type=int, default=48, help="length of the run; the schedule ends with it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="a run each; of weights, order and crops")
    parser.add_argument("--processes", type=int, default=1, help="that share the batch of 64; two for two cores")
    args = parser.parse_intermixed_args()
    main(args.work_dir, args.arms, args.epochs, args.seeds, args.processes)
