"""Hippocampus segmentation in twenty minutes of a CPU: our U-Net beside MONAI's, same cases, minutes and flips.

VDT3D_REAL_DATA=... python benchmarks/experiments/hippocampus.py WORK_DIR [--arms ...] [--seeds ...] [--minutes ...]
Trains on 150 cases, chooses the checkpoint on 30, reports once on 40. When both arms of a seed are there, the
difference is bootstrapped over the test cases. Validation does not count as training time, in either arm.
"""

import json
import math
import shutil
import time
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import record
import torch

CONFIG = "configs/msd/resnet3d-18w16-unet_scratch_1xb2-cos-4k_hippocampus.py"
LABELS = {"anterior": 1, "posterior": 2}
VALIDATIONS = 8
WARM_UP, TIMED = 20, 60  # steps before and while the clock is read
RESERVE = 0.9  # of the steps the clock promises, since over minutes a processor was found to be 8 % slower
PATCH = (48, 64, 48)
FLIPS = "W"  # left and right, in training and in testing, in both arms: the other axes tell anterior from posterior


def main(work_dir: Path, arms: list[str], seeds: list[int], minutes: float, weights: Path | None) -> None:
    data = record.real_data("msd_task04_hippocampus")
    for seed in seeds:
        for arm in arms:
            key = {"arm": arm, "seed": seed, "budget_minutes": minutes}
            folder = work_dir / f"{arm}-{seed}-{minutes:g}"
            if arm == "monai":
                record.once("hippocampus", key, lambda f=folder, s=seed: monai_arm(data, f, s, minutes))
            else:
                start = [f"init={arm}", *([f"load_from={weights}"] if arm == "vdt" else [])]
                options = [*data_options(data), *start]
                record.once("hippocampus", key, lambda o=options, f=folder, s=seed: our_arm(CONFIG, o, f, s, minutes))
    compare(minutes)


def data_options(data: Path, train: str = "dataset") -> list[str]:
    """Where a config finds the cases; ``train`` is the place of the volumes' data set in the training loader."""
    places = (f"train_dataloader.{train}", "val_dataloader.dataset", "test_dataloader.dataset")
    files = {"data_root": data, "split_file": data / "split.json"}
    return [f"{place}.{name}={value}" for place in places for name, value in files.items()]


def our_arm(config: str, options: list[str], folder: Path, seed: int, minutes: float) -> dict:
    """Train a config for as many steps as fit into ``minutes``, and test its best checkpoint.

    The clock is read once a config and its options, so that its seeds take the same steps, whatever else the machine
    then does.
    """
    variant = "-".join([Path(config).stem, *(word for word in options if word.startswith(("init=", "window.")))])
    per_step = seconds_per_step(config, folder.parent / f"clock-{variant}", options)
    options = [f"randomness.seed={seed}", *options]
    interval = int(RESERVE * 60 * minutes / per_step / VALIDATIONS)
    steps = interval * VALIDATIONS
    options += [f"train_cfg.max_iters={steps}", f"train_cfg.val_interval={interval}"]
    history = record.train(config, folder, *options)
    best = folder / "best_dice.pth"
    cases = folder / "cases.json"
    mirrored = f"model.test_cfg.inferer.flips={FLIPS}"
    scores = record.test(config, best, *options, mirrored, f"test_evaluator.out={cases}")
    times = step_seconds(folder)
    return {
        "config": config,
        "steps": steps,
        "clock_seconds_per_step": round(per_step, 3),
        "seconds_per_step": round(float(np.mean(times)), 3),
        "training_minutes": round(steps * float(np.mean(times)) / 60, 2),
        "data_share": round(float(np.mean(step_seconds(folder, "data_time")) / np.mean(times)), 3),
        "val_dice": [round(line["dice"], 4) for line in history if line["split"] == "val"],
        **{name: round(scores[name], 4) for name in ("dice", "dice_pooled", "hd95", "nsd")},
        "cases": case_dice(json.loads(cases.read_text())["cases"]),
    }


def seconds_per_step(config: str, folder: Path, options: list[str]) -> float:
    """The mean step time of a short run, its first steps left out; a run that is there already is read again."""
    if len(step_seconds(folder)) < WARM_UP + TIMED:
        shutil.rmtree(folder, ignore_errors=True)
        settings = [
            f"train_cfg.max_iters={WARM_UP + TIMED}",
            "train_cfg.val_interval=1000000",
            "default_hooks.logger.interval=1",
        ]
        record.train(config, folder, *options, *settings)
    return float(np.mean(step_seconds(folder)[WARM_UP:]))


def step_seconds(folder: Path, name: str = "time") -> list[float]:
    """What the run's log says of each stretch of steps."""
    lines = [json.loads(line) for path in sorted(folder.glob("*/vis_data/scalars.json")) for line in path.open()]
    return [line[name] for line in lines if "loss" in line]


def monai_arm(data: Path, folder: Path, seed: int, minutes: float) -> dict:
    """MONAI's U-Net in a plain loop: DiceCE, AdamW 1e-3 with cosine over the minutes, batch 2, flips and shifts."""
    from monai.losses import DiceCELoss
    from monai.networks.nets import UNet

    from medseg.evaluation import summary

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    cases = {part: read(data, part) for part in ("train", "val", "test")}
    network = UNet(3, 1, 3, (16, 32, 64, 128), (2, 2, 2), num_res_units=2, norm="INSTANCE")
    optimizer, loss_of = torch.optim.AdamW(network.parameters(), 1e-3), DiceCELoss(to_onehot_y=True, softmax=True)
    spent, step, best, history = 0.0, 0, -1.0, []
    while spent < 60 * minutes:
        start = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = 5e-4 * (1 + math.cos(math.pi * spent / (60 * minutes)))
        images, labels = zip(*(augmented(*cases["train"][i][:2], rng) for i in rng.integers(150, size=2)), strict=True)
        loss = loss_of(network(torch.stack(images)), torch.stack(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        spent, step = spent + time.perf_counter() - start, step + 1
        if spent >= 60 * minutes * (len(history) + 1) / VALIDATIONS:
            history.append(float(np.mean(list(case_dice(scored(network, cases["val"], flips=False)).values()))))
            if history[-1] > best:
                best, chosen = history[-1], {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(chosen)
    per_case = scored(network, cases["test"], flips=True)
    mean = summary(per_case, resamples=0)["mean"]
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "steps": step,
        "seconds_per_step": round(spent / step, 3),
        "training_minutes": round(spent / 60, 2),
        "val_dice": [round(value, 4) for value in history],
        **{name: round(mean[name]["mean"], 4) for name in ("dice", "hd95", "nsd")},
        "cases": case_dice(per_case),
    }


def read(data: Path, part: str) -> list[tuple[torch.Tensor, torch.Tensor, str]]:
    """Images with mean 0 and deviation 1 per case, labels, and names."""
    from vdt3d.io import read_label_map, read_volume

    cases = []
    for name in json.loads((data / "split.json").read_text())[part]:
        image = torch.from_numpy(read_volume(data / f"imagesTr/{name}.nii.gz").array)
        label = torch.from_numpy(read_label_map(data / f"labelsTr/{name}.nii.gz").array.astype(np.int64))
        cases.append(((image - image.mean()) / image.std(), label, name))
    return cases


def augmented(image: torch.Tensor, label: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Placed anywhere in the patch, mirrored with chance one half, its intensity shifted a little."""
    corner = [int(rng.integers(size - side + 1)) for size, side in zip(PATCH, image.shape[1:], strict=True)]
    axes = [1 + "DHW".index(axis) for axis in FLIPS if rng.random() < 0.5]
    return padded(image, corner).flip(axes) + float(rng.uniform(-0.1, 0.1)), padded(label, corner).flip(axes)


def padded(volume: torch.Tensor, corner: list[int]) -> torch.Tensor:
    """``volume`` in a patch of zeros, its first voxel at ``corner``."""
    patch = volume.new_zeros((1, *PATCH))
    patch[:, *(slice(low, low + side) for low, side in zip(corner, volume.shape[1:], strict=True))] = volume
    return patch


@torch.inference_mode()
def scored(network: torch.nn.Module, cases: list, *, flips: bool) -> dict:
    """Scores per case and label; with ``flips`` the probabilities of the mirror images are averaged."""
    from medseg.evaluation import case_scores
    from vdt3d.structures import LabelMap

    network.eval()
    result = {}
    for image, label, name in cases:
        patch = padded(image, [0, 0, 0])[None]
        choices = [[], *([2 + "DHW".index(axis)] for axis in FLIPS if flips)]
        mean = sum(network(patch.flip(axes)).softmax(1).flip(axes) for axes in choices)
        guess = mean.argmax(1)[:, *map(slice, image.shape[1:])]
        result[name] = case_scores(LabelMap(guess.numpy()), LabelMap(label.numpy()), LABELS, tolerance=1.0)
    network.train()
    return result


def case_dice(cases: dict) -> dict[str, float]:
    """Mean foreground Dice of each case."""
    return {
        name: round(float(np.nanmean([label["dice"] for label in case.values()])), 4) for name, case in cases.items()
    }


def compare(minutes: float) -> None:
    """Print mean and spread of each arm and the paired bootstrap, over cases, of each of ours against MONAI's."""
    path = record.RESULTS / "hippocampus.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    arms: dict[str, list[dict]] = {}
    for line in lines:
        if line["budget_minutes"] == minutes:
            arms.setdefault(line["arm"], []).append(line)
    means = {}
    for arm, runs in arms.items():
        for score in ("dice", "hd95", "nsd"):
            values = [run[score] for run in runs]
            print(f"{arm:8} {score:5} {np.mean(values):.4f} +- {np.std(values, ddof=1) if len(values) > 1 else 0:.4f}")
        names = sorted(runs[0]["cases"])
        means[arm] = np.mean([[run["cases"][name] for name in names] for run in runs], axis=0)
    rng = np.random.default_rng(0)
    for arm in means.keys() - {"monai"} if "monai" in means else ():
        difference = means[arm] - means["monai"]
        draws = difference[rng.integers(len(difference), size=(10000, len(difference)))].mean(1)
        low, high = np.quantile(draws, (0.025, 0.975))
        print(f"{arm} - monai: {difference.mean():+.4f} (95 % interval {low:+.4f} to {high:+.4f})")


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("--arms", nargs="+", default=["scratch", "monai"], choices=["scratch", "vdt", "monai"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--weights", type=Path, help="checkpoint of the arm vdt")
    args = parser.parse_args()
    main(args.work_dir, args.arms, args.seeds, args.minutes, args.weights)
