"""Comparisons of initialisations: nested shares of the labels, one run, all runs summed up."""

import gc
import json
import math
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import init_default_scope

from vdt3d.engine.runner import Runner
from vdt3d.evaluation.comparison import comparison_table, markdown, percent
from vdt3d.experiments.digests import config_digest
from vdt3d.registry import DATASETS
from vdt3d.utils.files import write_aside
from vdt3d.visualization.comparison import saving_curves, score_curves
from vdt3d.visualization.grid import save

SHARED = ("train_dataloader", "val_dataloader", "test_dataloader", "train_cfg", "val_evaluator", "test_evaluator")


class Told(NamedTuple):
    """What an evaluator tells case by case: the file it writes, and the scores that can be paired from it."""

    file: str
    scores: tuple[str, ...]


EVALUATORS = {
    "SegmentationScores": Told("cases.json", ("dice", "iou", "nsd")),
    "ClassificationScores": Told(
        "cases.csv", ("auc", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "precision", "f1")
    ),
}


@dataclass(frozen=True)
class Run:
    """One training of a comparison: the arm, the share of the labels it sees (0..1), the seed."""

    arm: str
    fraction: float
    seed: int

    def __str__(self) -> str:
        return f"{self.arm}, {percent(self.fraction)} of the labels, seed {self.seed}"

    def folder(self, base: Path) -> Path:
        """Where everything of this run lies."""
        return base / f"{self.arm}-{self.fraction:g}-{self.seed}"


# ---- what is compared ------------------------------------------------------------------------------------------------


def score_of(config: Config) -> str:
    """The score that chooses checkpoints, and by which arms are compared.

    Raises:
        ValueError: the config names none, or one that cannot be paired case by case.
    """
    score = config.get("default_hooks", {}).get("checkpoint", {}).get("save_best")
    kind = _evaluator(config)
    if score not in EVALUATORS[kind].scores:
        raise ValueError(
            f"default_hooks.checkpoint.save_best='{score}' chooses checkpoints, and arms are compared by it; with "
            f"{kind} it must be one of {', '.join(EVALUATORS[kind].scores)}"
        )
    return score


def _evaluator(config: Config) -> str:
    evaluator = config.test_evaluator
    kind = evaluator.get("type") if isinstance(evaluator, Mapping) else None
    if kind not in EVALUATORS:
        raise ValueError(f"test_evaluator is {kind or evaluator}; to pair arms it must be {' or '.join(EVALUATORS)}")
    return kind


def check_alike(configs: Mapping[str, Config]) -> None:
    """Refuse arms whose scores would not tell how their starts did.

    Raises:
        ValueError: two arms have other data, another augmentation, another length or other scores; or the data set has
            ``indices`` already.
    """
    (first, expected), *others = configs.items()
    for arm, config in others:
        for key in SHARED:
            if config.get(key) != expected.get(key):
                raise ValueError(f"{arm} and {first} differ in {key}, so their scores would not tell how a start did")
    place, dataset = cases_of(expected)
    if "indices" in dataset:
        raise ValueError(f"{place} has indices, which a comparison sets itself; leave them out")


# ---- which cases -----------------------------------------------------------------------------------------------------


class TrainingCases(NamedTuple):
    """Of every training case its group (the patient) and, for classification, its class."""

    groups: list[str]
    targets: np.ndarray | None


def cases_of(config: Config) -> tuple[str, dict[str, Any]]:
    """The config of the data set of the training cases, and its place: within ``SliceWindows``, or the loader's own."""
    place, dataset = "train_dataloader.dataset", config.train_dataloader.dataset
    return (f"{place}.dataset", dataset.dataset) if dataset.type == "SliceWindows" else (place, dataset)


def training_cases(config: Config) -> TrainingCases:
    """What ``label_subset`` wants to know of a config's training set.

    Raises:
        ValueError: the data set is none of mmengine's ``BaseDataset``, whose ``indices`` a subset is given as.
    """
    init_default_scope("vdt3d")
    place, settings = cases_of(config)
    dataset = DATASETS.build(settings)
    if not isinstance(dataset, BaseDataset):
        raise ValueError(f"{place} is a {type(dataset).__name__}, of which no subset can be taken")
    dataset.full_init()
    groups = [dataset.get_data_info(index).get("group") or f"case {index}" for index in range(len(dataset))]
    return TrainingCases(groups, dataset.targets() if _evaluator(config) == "ClassificationScores" else None)


def label_subset(cases: TrainingCases, fraction: float, seed: int) -> list[int]:
    """The places of a share of the cases, in the order in which they are drawn.

    Of one seed, a smaller share is the beginning of a larger one. Whole groups are drawn, of the classes (a group's is
    the highest of its cases) in proportion, until there are ``fraction`` of all cases and at least one of every class.

    Raises:
        ValueError: the fraction is not in 0..1.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"a fraction of the labels is more than 0 and at most 1, got {fraction}")
    group_of = np.unique(np.array(cases.groups), return_inverse=True)[1]
    targets = np.zeros(len(group_of), int) if cases.targets is None else np.asarray(cases.targets)
    sizes = np.bincount(group_of)
    class_of = np.zeros(len(sizes), int)
    np.maximum.at(class_of, group_of, targets)

    rng = np.random.default_rng(seed)
    place = np.empty(len(sizes))  # 0 for the first group of each class, approaching 1 for its last
    for name in np.unique(class_of):
        members = rng.permutation(np.flatnonzero(class_of == name))
        place[members] = np.arange(len(members)) / len(members)
    order = np.lexsort((rng.random(len(sizes)), place))
    rank = np.argsort(order)

    enough = np.searchsorted(np.cumsum(sizes[order]), max(1, round(fraction * len(group_of))))
    of_each = max(rank[group_of[targets == name]].min() for name in np.unique(targets))
    count = sizes[order[: max(enough, of_each) + 1]].sum()
    return np.argsort(rank[group_of], kind="stable")[:count].tolist()


def repeated(subset: Sequence[int], total: int, *, by_epoch: bool) -> list[int]:
    """The subset again and again, until a pass over it is as long as one over all ``total`` cases.

    With ``by_epoch`` exactly as long, so that epochs keep their number of steps; otherwise a whole number of times, so
    that every case is seen equally often (and small subsets still fill a batch).
    """
    times = -(-total // len(subset))
    many = list(subset) * times
    return many[:total] if by_epoch else many


# ---- one run ---------------------------------------------------------------------------------------------------------


def configured(config: Config, folder: Path, *, seed: int, indices: list[int] | None) -> Config:
    """Return the config of one run in ``folder``, with its seed, and ``indices`` of its training cases if any."""
    # Long lists in a config's text take seconds to lay out, and it is written several times.
    config = Config(config.to_dict(), filename=config.filename, format_python_code=False)
    settings = {
        "work_dir": str(folder),
        "resume": True,
        "launcher": "none",
        "randomness.seed": seed,
        "default_hooks.checkpoint.max_keep_ckpts": 1,
        "test_evaluator.out": str(folder / EVALUATORS[_evaluator(config)].file),
    }
    if indices is not None:
        settings[f"{cases_of(config)[0]}.indices"] = indices
    config.merge_from_dict(settings)
    return config


def describe(config: Config, run: Run, *, subset: list[int]) -> dict[str, Any]:
    """What tells a run from any other, for its run.json: among it the cases it trains on, and the config's digest."""
    return {
        **asdict(run),
        "labels": len(subset),
        "config": Path(config.filename).name,
        "digest": config_digest(config),
        "weights": config.get("load_from"),
        "cases": subset,
    }


def settle(folder: Path, description: Mapping[str, Any], file: str = "run.json") -> bool:
    """Write ``file`` into the folder of a run, or compare it with what is there; returns whether the run has a result.

    Raises:
        ValueError: what lies there is another run.
    """
    path = folder / file
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        differing = [key for key in description if found.get(key) != description[key]]
        if differing:
            raise ValueError(
                f"{folder} holds a run that differs in {', '.join(differing)} (digest: of the config and "
                "--cfg-options); remove it, or choose another --work-dir"
            )
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_aside(path, lambda aside: aside.write_text(json.dumps(description) + "\n", encoding="utf-8"))
    return (folder / "result.json").exists()


def train_and_test(config: Config, score: str) -> dict[str, Any]:
    """Train (or go on training), test the checkpoint of the best validation once, and tell what came of it.

    Returns:
        ``score``; ``steps``, ``seconds_per_step`` (median) and ``parameters``; ``validation``, a list of (step, score);
        ``test``, all test scores; ``cases``, see ``vdt3d.evaluation.comparison``; ``minutes`` this call took. A score
        that is no number is None.

    Raises:
        FileNotFoundError: no validation gave a score, so there is no best checkpoint.
    """
    start, folder = time.perf_counter(), Path(config.work_dir)
    runner = Runner.from_cfg(config)
    runner.train()
    cost = {
        "steps": runner.iter,
        "seconds_per_step": round(float(np.median(runner.message_hub.get_scalar("train/time").data[0])), 5),
        "parameters": sum(parameter.numel() for parameter in runner.model.parameters()),
    }
    del runner
    gc.collect()  # a runner and its hooks refer to each other; its model should not stand beside the next one

    best = folder / f"best_{score}.pth"
    if not best.is_file():
        raise FileNotFoundError(
            f"{best}: not found, since no validation gave a number for '{score}'; the log names the class that "
            "validation lacks, or val_interval is longer than the run"
        )
    testing = deepcopy(config)
    testing.work_dir, testing.load_from, testing.resume = str(folder / "test"), str(best), False
    scores = Runner.from_cfg(testing).test()
    return {
        "score": score,
        **cost,
        "validation": _validations(folder / "scores.jsonl", score),
        "test": {name: _finite(value) for name, value in scores.items()},
        "cases": read_cases(Path(config.test_evaluator.out), score),
        "minutes": round((time.perf_counter() - start) / 60, 2),
    }


def _validations(path: Path, score: str) -> list[tuple[int, float | None]]:
    """(step, score) of each validation; of a step that was validated again on resuming, the last one."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return sorted({line["iter"]: _finite(line[score]) for line in lines if line["split"] == "val"}.items())


def _finite(value: float) -> float | None:
    """``value``, or None for nan and the infinite, which JSON does not know."""
    return value if math.isfinite(value) else None


def read_cases(path: Path, score: str) -> dict[str, list]:
    """What an evaluator of ``EVALUATORS`` wrote of each case, as the columns that a result holds."""
    if path.suffix == ".csv":
        table = pd.read_csv(path, dtype={"name": str, "group": str}, keep_default_na=False)
        return table.drop(columns="p0" if "p2" not in table else []).round(6).to_dict("list")
    content = json.loads(path.read_text(encoding="utf-8"))
    cases = content["cases"]
    of_labels = [[label[score] for label in labels.values() if label[score] is not None] for labels in cases.values()]
    return {
        "name": list(cases),
        "score": [round(float(np.mean(values)), 6) if values else None for values in of_labels],
        "group": [content["groups"][name] for name in cases],
    }


# ---- all runs --------------------------------------------------------------------------------------------------------


def collect(runs: Sequence[Run], base: Path) -> tuple[list[dict[str, Any]], list[Run]]:
    """The results there are, and the runs without one."""
    paths = {run: run.folder(base) / "result.json" for run in runs}
    results = [json.loads(path.read_text(encoding="utf-8")) for path in paths.values() if path.exists()]
    return results, [run for run, path in paths.items() if not path.exists()]


def summarise(results: Sequence[Mapping[str, Any]], folder: Path) -> str:
    """Write results.jsonl, table.csv, table.md, learning_curves.png and annotation_saving.png; return the table.

    Args:
        results: as ``train_and_test`` returns them, with what ``describe`` tells of the run.

    Raises:
        ValueError: there are none, or they are of different scores.
    """
    scores = {result["score"] for result in results}
    if len(scores) != 1:
        raise ValueError(f"{folder}: results of one score are summed up, found {sorted(scores) or 'no results'}")
    (score,) = scores
    folder.mkdir(parents=True, exist_ok=True)
    table = comparison_table(results, score)
    text = markdown(table, score)
    lines = "".join(json.dumps(result) + "\n" for result in results)
    write_aside(folder / "results.jsonl", lambda aside: aside.write_text(lines, encoding="utf-8"))
    write_aside(folder / "table.csv", lambda aside: table.to_csv(aside, index=False))
    write_aside(folder / "table.md", lambda aside: aside.write_text(text, encoding="utf-8"))
    save(score_curves(results, score), folder / "learning_curves.png")
    save(saving_curves(results, score), folder / "annotation_saving.png")
    return text
