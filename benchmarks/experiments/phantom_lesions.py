"""Lesions among vessels, in phantoms: P3D, from scratch and from VDT, beside 2D networks of the same width.

python benchmarks/experiments/phantom_lesions.py WORK_DIR --weights-vdt FILE [--arms ...] [--worlds ...] [--seeds ...]
FILE is the checkpoint of configs/imagenet_pretrain/p3d-18baw16_vdt_... (cifar10_pretraining.py WORK_DIR p3d). All arms
take the same steps on the same phantoms; the checkpoint is chosen on 100 windows and tested once on 200 others.
With --figures FOLDER, FROC curves of the first seed's runs and windows with their boxes are drawn there.
"""

import json
from argparse import ArgumentParser
from pathlib import Path

import hippocampus
import numpy as np
import record

ARMS = {
    "p3d": "configs/debug/detect.py",
    "p3d from vdt": "configs/debug/detect.py",
    "2d": "configs/debug/detect_2d.py",  # three slices are the colours
    "2d, 1 slice": "configs/debug/detect_2d_1-slice.py",
}
WORLDS = {"tubes": "(1,3)", "no tubes": "(0,0)"}  # distractors a window
RATES = (0.125, 0.25, 0.5, 1, 2, 4, 8, 16)  # false positives an image
KEPT = ("froc", "sensitivity_1", "sensitivity_1_low", "sensitivity_1_high", "ap50")
VALIDATIONS = 5
PICTURED = 4  # windows


def main() -> None:
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("--weights-vdt", type=Path)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), choices=WORLDS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--figures", type=Path, help="draw what was trained, nothing else")
    args = parser.parse_args()
    if args.figures:
        draw(args.work_dir, args.figures, args.seeds[0], args.steps)
        return
    if "p3d from vdt" in args.arms and args.weights_vdt is None:
        parser.error("the arm 'p3d from vdt' wants --weights-vdt")
    for seed in args.seeds:
        for world in args.worlds:
            for arm in args.arms:
                key = {"arm": arm, "world": world, "seed": seed, "steps": args.steps}
                folder = folder_of(args.work_dir, **key)
                start = [f"load_from={args.weights_vdt.resolve()}"] if arm == "p3d from vdt" else []
                record.once("phantom_lesions", key, lambda k=key, f=folder, s=start: run(k, f, s))


def folder_of(work_dir: Path, arm: str, world: str, seed: int, steps: int) -> Path:
    return work_dir / f"{arm}-{world}-{seed}-{steps}".replace(",", "").replace(" ", "-")


def draw(work_dir: Path, out: Path, seed: int, steps: int) -> None:
    """FROC curves among tubes, and of two arms the first test windows, truth and findings in them."""
    import torch
    from mmengine.config import Config

    from vdt3d.cli.config import quiet_imports

    quiet_imports()
    from vdt3d.engine.ensemble import loaded
    from vdt3d.registry import DATASETS
    from vdt3d.structures import Volume
    from vdt3d.visualization import boxes_page, froc_curves, save

    folders = {arm: folder_of(work_dir, arm, "tubes", seed, steps) for arm in ARMS}
    save(froc_curves({arm: folder / "froc.json" for arm, folder in folders.items()}), out / "phantom_froc.png")
    for arm, file in (("p3d", "phantom_p3d.png"), ("2d, 1 slice", "phantom_2d.png")):
        config = Config.fromfile(folders[arm] / Path(ARMS[arm]).name, lazy_import=False)
        model = loaded(config, str(folders[arm] / "best_froc.pth"), "cpu")
        windows = DATASETS.build(config.test_dataloader.dataset)
        packed = [windows[number] for number in range(PICTURED)]
        with torch.no_grad():
            samples = model.test_step({key: [each[key] for each in packed] for key in packed[0]})
        scans = [Volume(np.asarray(each["inputs"]), said.grid[1]) for each, said in zip(packed, samples, strict=True)]
        truth, found = ([each.get(name) for each in samples] for name in ("reference", "pred_boxes"))
        page = boxes_page(scans, truth, found, [each.pred_scores for each in samples], names=["" for _ in samples])
        save(page, out / file, dpi=100)


def run(key: dict, folder: Path, start: list[str]) -> dict:
    """Train an arm and test its best checkpoint."""
    loaders = ("train_dataloader", "val_dataloader", "test_dataloader")
    options = [
        f"randomness.seed={key['seed']}",
        *("param_scheduler._delete_=True", "param_scheduler.type=CosineAnnealingLR", "param_scheduler.by_epoch=False"),
        *("train_cfg._delete_=True", "train_cfg.by_epoch=False", f"train_cfg.max_iters={key['steps']}"),
        f"train_cfg.val_interval={key['steps'] // VALIDATIONS}",
        "default_hooks.checkpoint.interval=100",
        "train_dataloader.dataset.cases=1000",
        "val_dataloader.dataset.cases=100",
        "test_dataloader.dataset.cases=200",
        *(f"{loader}.dataset.make.distractors={WORLDS[key['world']]}" for loader in loaders),
    ]
    config, report = ARMS[key["arm"]], folder / "froc.json"
    history = record.train(config, folder, *options, *start)
    scores = record.test(config, folder / "best_froc.pth", *options, f"test_evaluator.out={report}")
    curve = json.loads(report.read_text())["curve"]
    times = hippocampus.step_seconds(folder)
    return {
        "config": config,
        "seconds_per_step": round(float(np.mean(times)), 3),
        "training_minutes": round(key["steps"] * float(np.mean(times)) / 60, 1),
        "val_froc": [round(line["froc"], 4) for line in history if line["split"] == "val"],
        **{name: round(scores[name], 4) for name in KEPT},
        "curve": {str(rate): round(at(curve, rate), 4) for rate in RATES},
    }


def at(curve: dict, rate: float) -> float:
    """Sensitivity at ``rate`` false positives an image, of the steps of a curve."""
    below = np.flatnonzero(np.asarray(curve["false_positives"]) <= rate)
    return curve["sensitivity"][below[-1]] if len(below) else 0.0


if __name__ == "__main__":
    main()
