"""Random tables, run lengths and settings and ways to damage them, for ``random_inputs``."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from random_files import Input, file_damages
from random_judges import Content, config_content, labels_content, run_lengths_content

from medseg.io import read_masks
from vdt3d.cli.config import load_run_config
from vdt3d.datasets import VolumeClassification
from vdt3d.engine.validation import check_settings
from vdt3d.registry import MODELS


def labels_table(folder: Path, rng: np.random.Generator) -> Input:
    """A table of a classification data set."""
    count = int(rng.integers(4, 12))
    names = [f"{rng.choice(['scan', 'a b', 'größe', '片', 'x,y'])} {number}.nii.gz" for number in range(count)]
    classes = ["benign", "malignant", "0 or 1"] if rng.random() < 0.5 else ["0", "1"]
    targets = [*classes[:2], *rng.choice(classes, count - 2).tolist()]
    table = pd.DataFrame({"path": names, "target": targets})
    if rng.random() < 0.5:
        table["split"] = rng.choice(["train", "val", "test"], count)
        table.loc[:2, "split"] = ["train", "val", "test"]
    if rng.random() < 0.3:
        table.insert(0, "remark", rng.choice(["", "seen", 'said "no"', "two\nlines"], count))
    for name in names:
        (folder / name).touch()
    path = folder / "labels.csv"
    encoding = "utf-8-sig" if rng.random() < 0.3 else "utf-8"
    table.to_csv(path, index=False, encoding=encoding, lineterminator="\r\n" if rng.random() < 0.3 else "\n")

    def read() -> Content:
        data = VolumeClassification(folder, split="all")
        rows = sorted((item["name"], data.metainfo["classes"][item["target"]]) for item in data.load_data_list())
        return {"rows": rows}

    def with_cell(column: str, value: str) -> None:
        changed = table.copy()
        changed.loc[int(rng.integers(count)), column] = value
        changed.to_csv(path, index=False, encoding="utf-8")

    odd = ["", " ", "NA", "None", "1.0", "-1", "inf", "benign ", "\t", "0x1", "1e0", "\x00", "=1+1", "'", "\uff19"]
    damages = {
        **file_damages(path, rng, 60),
        "odd target": lambda: with_cell("target", str(rng.choice(odd))),
        "odd path": lambda: with_cell("path", str(rng.choice([*odd, names[0]]))),
        "odd split": lambda: with_cell("split", str(rng.choice(["", "Train", "holdout", "1"]))),
        "semicolons": lambda: table.to_csv(path, index=False, sep=";"),
        "UTF-16": lambda: table.to_csv(path, index=False, encoding="utf-16"),
        "without header": lambda: table.to_csv(path, index=False, header=False),
        "a column twice": lambda: pd.concat([table, table.target], axis=1).to_csv(path, index=False),
    }
    return Input(read, lambda: labels_content(path), damages)


def run_lengths(folder: Path, rng: np.random.Generator) -> Input:
    """A table of masks as run lengths."""
    shape = (int(rng.integers(1, 5)), int(rng.integers(3, 9)), int(rng.integers(3, 9)))
    organs, rows = ("stomach", "bowel"), []
    for number in range(1, shape[0] + 1):
        for organ in organs:
            mask = np.flatnonzero(rng.random(shape[1] * shape[2]) < rng.choice([0, 0.3, 0.9]))
            runs = np.split(mask, np.flatnonzero(np.diff(mask) > 1) + 1) if len(mask) else []
            code = " ".join(f"{run[0] + 1} {len(run)}" for run in runs)
            rows.append((f"case1_day2_slice_{number:04d}", organ, code))
    table = pd.DataFrame(rows, columns=["id", "class", "segmentation"])
    path = folder / "train.csv"
    table.to_csv(path, index=False)

    def read() -> Content:
        return {"labels": read_masks(path, organs).label_map("case1_day2", range(1, shape[0] + 1), shape[1:])}

    def with_code(code: str) -> None:
        changed = table.copy()
        changed.loc[int(rng.integers(len(rows))), "segmentation"] = code
        changed.to_csv(path, index=False)

    odd = ["1", "0 1", "1 0", "-1 2", "1 2 2 2", "5 1 1 1", "999 9", "1.0 2", "a b", "1 2,4 1", "1  2", "\u0661 1"]
    damages = {
        **file_damages(path, rng, 120),
        "odd code": lambda: with_code(str(rng.choice(odd))),
        "row twice": lambda: pd.concat([table, table[-1:]]).to_csv(path, index=False),
        "row missing": lambda: table.drop(int(rng.integers(len(rows)))).to_csv(path, index=False),
    }
    return Input(read, lambda: run_lengths_content(path, "case1_day2", organs, shape), damages)


CONFIG = """
model = dict(
    type="VolumeClassifier",
    backbone=dict(type="ResNet3D", depth=10, in_channels=1, base_channels=8, depth_stride=True),
    neck=dict(type="GlobalAveragePooling", dim=3),
    head=dict(type="LinearClsHead", num_classes=2, topk=(1,)),
)
dataset = dict(type="PhantomNodules", data_root="nodules", make=dict(cases=30), by="patient")
sampler = dict(type="DefaultSampler")
train_dataloader = dict(batch_size=4, num_workers=0, dataset=dataset, drop_last=True, sampler=sampler)
val_dataloader = dict(batch_size=4, num_workers=0, dataset=dataset, sampler=sampler)
train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=1)
val_cfg = dict()
val_evaluator = dict(type="ClassificationScores", resamples=100)
optim_wrapper = dict(optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.01), accumulative_counts=2)
param_scheduler = dict(type="MultiStepLR", milestones=[1, 2], gamma=0.1)
default_hooks = dict(logger=dict(type="LoggerHook", interval=10), checkpoint=dict(type="CheckpointHook", interval=1))
randomness = dict(seed=3, deterministic=False)
env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method="spawn"))
"""
LOCAL = ("dataset", "sampler")  # names of the file itself
OVERRIDES = {  # valid values, all other than the config's
    "model.backbone.depth": [18, 50],
    "model.backbone.depth_stride": [False],
    "train_dataloader.batch_size": [2, 16],
    "train_dataloader.drop_last": [False],
    "train_cfg.max_epochs": [1, 7],
    "val_evaluator.resamples": [0, 9],
    "optim_wrapper.optimizer.lr": [0.5, 1e-6],
    "optim_wrapper.accumulative_counts": [1, 4],
    "param_scheduler.milestones": [[2], []],
    "default_hooks.logger.interval": [1, 50],
    "default_hooks.checkpoint.interval": [2],
    "randomness.seed": [0, 12345],
    "randomness.deterministic": [True],
    "env_cfg.mp_cfg.mp_start_method": ["fork"],
}


def listed(settings: Mapping[str, object]) -> list[tuple[str, str]]:
    return sorted((name, repr(part)) for name, part in settings.items() if name not in LOCAL)


def override(folder: Path, rng: np.random.Generator) -> Input:
    """A config file and one setting of it that the command line changes."""
    path = folder / "config.py"
    path.write_text(CONFIG)
    key = str(rng.choice(list(OVERRIDES)))
    value = OVERRIDES[key][rng.integers(len(OVERRIDES[key]))]
    given = [f"{key}={value}"]
    truth = [True]  # False once the text is broken

    def read() -> Content:
        args = argparse.Namespace(config=path, cfg_options=given, work_dir=folder, launcher=None)
        config = load_run_config(args)
        check_settings(config.to_dict())
        MODELS.build(config.to_dict()["model"])
        return {"settings": listed(config.to_dict())}

    def judge() -> Content:
        if not truth[0]:
            raise ValueError("broken on purpose")
        added = {"default_scope": "vdt3d", "launcher": "none", "work_dir": str(folder)}
        return {"settings": listed(config_content(CONFIG, key, value, **added))}

    def give(text: str) -> Callable[[], None]:
        def damage() -> None:
            given[0], truth[0] = text, False

        return damage

    names = key.split(".")
    at = int(rng.integers(len(names)))
    word = names[at]
    letter = int(rng.integers(1, len(word)))
    before, after = word[:letter], word[letter:]
    misspelt = {
        "letter lost": before + after[1:],
        "letter twice": before + before[-1] + after,
        "letters exchanged": before[:-1] + after[0] + before[-1] + after[1:],
        "capital": word.capitalize(),
    }
    damages = {
        name: give(".".join([*names[:at], wrong, *names[at + 1 :]]) + f"={value}")
        for name, wrong in misspelt.items()
        if wrong != word
    }
    other = [-3, "many", [1, "a"], {"a": 1}]  # none of them is valid for any key
    damages |= {
        "no value": give(key),
        "open bracket": give(f"{key}=[1, 2"),
        "below a value": give(f"{key}.more=1"),
        "another type": give(f"{key}={other[rng.integers(len(other))]}"),
        "file cut": lambda: (give(given[0])(), path.write_text(CONFIG[: rng.integers(20, 300)])),
        "unknown name in file": lambda: (give(given[0])(), path.write_text(CONFIG + "lod_from = None\n")),
    }
    return Input(read, judge, damages)
