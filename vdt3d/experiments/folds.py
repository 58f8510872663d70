"""Cross-validation: the config of every fold, one fold trained and tested, and all held-out cases scored together."""

import copy
import gc
import json
import math
from collections.abc import Mapping, Sequence
from inspect import signature
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import init_default_scope

from vdt3d.datasets.splits import deal
from vdt3d.engine.hooks.test_notes import VALIDATION_CASES
from vdt3d.engine.runner import Runner
from vdt3d.engine.score_rules import follows_score
from vdt3d.engine.work_dir import latest_checkpoint
from vdt3d.evaluation.classification import score_report
from vdt3d.evaluation.intervals import bootstrap_weights, interval, weighted_means
from vdt3d.experiments.comparison import EVALUATORS, cases_of
from vdt3d.registry import DATASETS
from vdt3d.utils.files import write_aside, write_json

RESAMPLES = 1000


def fold_configs(config: Config, folds: int, base: Path) -> list[Config]:
    """The config of each fold, whose held-out cases it validates on, chooses nothing by, and tests.

    Data sets that know ``fold`` and ``folds`` (those of segmentation) are asked for theirs, as they or their split file
    say. Of others the training cases of the config are dealt out by class, those of a group (patient) to one fold.

    Args:
        base: folder k gets the name ``foldK`` in it.

    Raises:
        ValueError: fewer folds than two; a case would be held out twice, as by a split file with one division; or the
            data set cannot be dealt out.
    """
    if folds < 2:
        raise ValueError(f"--folds {folds}: it takes two or more")
    init_default_scope("vdt3d")
    place, settings = cases_of(config)
    known = [name for kind in DATASETS.get(settings.type).__mro__ for name in signature(kind.__init__).parameters]
    if {"fold", "folds"} <= {*known}:
        parts = [({"fold": k, "folds": folds},) * 2 for k in range(folds)]
        held_out = {**settings, "split": "val"}
    else:
        parts = [({"indices": rest}, {"indices": out}) for rest, out in dealt(settings, folds, place)]
        held_out = settings
    configs = []
    for number, (rest, out) in enumerate(parts):
        # Long lists in a config's text take seconds to lay out.
        one = Config(copy.deepcopy(config.to_dict()), filename=config.filename, format_python_code=False)
        cases_of(one)[1].update(rest)
        for split in ("val", "test"):
            loader = one[f"{split}_dataloader"]
            scored = {key: loader.dataset[key] for key in ("pipeline", "whole_scans") if key in loader.dataset}
            loader.dataset = {**held_out, **scored, **out}
        configs.append(_settled(one, base / f"fold{number}"))
    if held_out is not settings:
        _check_disjoint([one.test_dataloader.dataset for one in configs], settings.get("split_file"))
    return configs


def _settled(config: Config, folder: Path) -> Config:
    """With its folder, resumable, and with no choice made by the cases held out."""
    config.work_dir, config.resume, config.launcher = str(folder), True, "none"
    checkpoint = config.setdefault("default_hooks", {}).setdefault("checkpoint", dict(type="CheckpointHook"))
    checkpoint.update(save_best=None, max_keep_ckpts=1)
    for evaluator in _evaluators(config):
        if evaluator.type == "ClassificationScores":
            evaluator.threshold = None
        if evaluator.type in EVALUATORS:
            evaluator.out = str(folder / EVALUATORS[evaluator.type].file)
    return config


def _evaluators(config: Config) -> list[dict[str, Any]]:
    found = config.test_evaluator
    return list(found) if isinstance(found, Sequence) else [found]


def dealt(settings: Mapping[str, Any], folds: int, place: str) -> list[tuple[list[int], list[int]]]:
    """Of each fold the places of the cases to train on and of those held out.

    Raises:
        ValueError: the data set is none of mmengine's ``BaseDataset``, or has fewer groups than folds.
    """
    dataset = DATASETS.build(settings)
    if not isinstance(dataset, BaseDataset):
        raise ValueError(f"{place} is a {type(dataset).__name__}, which cannot be dealt out to folds")
    dataset.full_init()
    known = [dataset.get_data_info(index) for index in range(len(dataset))]
    groups = pd.Series([str(case.get("group") or f"case {place}") for place, case in enumerate(known)])
    if groups.nunique() < folds:
        raise ValueError(f"{place} has {groups.nunique()} groups of cases, fewer than --folds {folds}")
    hands = deal(groups, pd.Series([case.get("target", case.get("gt_label", 0)) for case in known]), folds).to_numpy()
    own = np.asarray(settings.get("indices") or np.arange(len(known)))
    return [(own[hands != fold].tolist(), own[hands == fold].tolist()) for fold in range(folds)]


def _check_disjoint(held_out: Sequence[Mapping[str, Any]], split_file: str | None) -> None:
    names = []
    for settings in held_out:
        # To serialise data that is looked at once takes longer than to find it.
        dataset = DATASETS.build({**settings, "pipeline": (), "serialize_data": False})
        dataset.full_init()
        names.append({dataset.get_data_info(index)["name"] for index in range(len(dataset))})
    for (one, first), (other, second) in combinations(enumerate(names), 2):
        if first & second:
            raise ValueError(
                f"case '{min(first & second)}' is held out in the folds {one} and {other}: the split file "
                f"{split_file} divides the cases once; take one with as many folds (vdt3d split), or none "
                "(--cfg-options train_dataloader.dataset.split_file=none)"
            )


def train_fold(config: Config) -> dict[str, Any]:
    """Train a fold, or go on with it, and test its last checkpoint on the cases held out; returns their scores.

    The last checkpoint, since the best on those cases would be chosen by them.
    """
    folder = Path(config.work_dir)
    Runner.from_cfg(config).train()
    gc.collect()  # a runner and its hooks refer to each other; its model should not stand beside the next one
    testing = copy.deepcopy(config)
    testing.work_dir, testing.resume = str(folder / "test"), False
    testing.load_from = str(latest_checkpoint(folder))
    return {"checkpoint": testing.load_from, "scores": Runner.from_cfg(testing).test()}


def pool(config: Config, base: Path, folds: int) -> dict[str, Any]:
    """Sum up the folds that have a result: kfold.json, and out_of_fold.csv with a row for each case held out.

    Returns:
        ``folds``: number to scores. ``mean`` and ``std`` over the folds (n - 1), by score. ``pooled``: scores of all
        cases held out, as of one test, with 95 % intervals by patient: of ``ClassificationScores`` all of them; of
        ``SegmentationScores`` the means over cases, all labels' and each one's; of others nothing. ``held_out``: how
        the held-out cases, which are validated too, took part in the training.

    Raises:
        ValueError: no fold has a result, or the cases of a fold have no ``group``.
    """
    found = {k: base / f"fold{k}" for k in range(folds) if (base / f"fold{k}/result.json").exists()}
    if not found:
        raise ValueError(f"{base}: no fold has a result yet")
    scores = {k: json.loads((path / "result.json").read_text(encoding="utf-8"))["scores"] for k, path in found.items()}
    table = pd.DataFrame.from_dict(scores, orient="index").astype(float)
    table = table[[name for name in table if not name.endswith(("_low", "_high")) and name != VALIDATION_CASES]]
    kinds = [evaluator.type for evaluator in _evaluators(config) if evaluator.type in EVALUATORS]
    pooled: dict[str, float] = {}
    for kind in kinds:
        files = {k: path / EVALUATORS[kind].file for k, path in found.items()}
        cases = [
            pd.read_csv(path.with_suffix(".csv"), dtype={"group": str}).assign(fold=k) for k, path in files.items()
        ]
        together = pd.concat(cases, ignore_index=True)
        write_aside(base / "out_of_fold.csv", lambda aside, rows=together: rows.to_csv(aside, index=False))
        pooled |= _of_classes(together) if kind == "ClassificationScores" else _of_labels(list(files.values()))
    report = {
        "folds": scores,
        "mean": table.mean().to_dict(),
        "std": table.std().to_dict(),
        "pooled": pooled,
        "held_out": use_of_held_out(config),
        "complete": len(found) == folds,
    }
    write_json(base / "kfold.json", report)
    return report


def use_of_held_out(config: Config) -> str:
    """Return how the held-out cases, on which each fold is validated, took part in its training."""
    schedulers = config.get("param_scheduler") or []
    parts = [*config.get("custom_hooks", []), *([schedulers] if isinstance(schedulers, Mapping) else schedulers)]
    choosing = [str(part["type"]) for part in parts if isinstance(part, Mapping) and follows_score(part)]
    if choosing:
        return f"{', '.join(choosing)} followed scores of the cases held out: their test scores are too high"
    return "validated in training, but nothing is chosen by them: the last checkpoint of each fold is tested"


def _of_classes(table: pd.DataFrame) -> dict[str, float]:
    probabilities = table[[name for name in table if name[0] == "p" and name[1:].isdigit()]].to_numpy(float)
    if "group" not in table or table.group.isna().any():
        raise ValueError(_no_groups("cases.csv"))
    groups = pd.factorize(table.group)[0]
    return score_report(probabilities, table.truth.to_numpy(), resamples=RESAMPLES, groups=groups)


def _of_labels(paths: Sequence[Path]) -> dict[str, float]:
    """Return means over cases, with 95 % intervals; of a case, over its labels, as ``SegmentationScores``."""
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    if not all("groups" in content for content in contents):
        raise ValueError(_no_groups("cases.json"))
    groups = [content["groups"][name] for content in contents for name in content["cases"]]
    groups = pd.factorize(np.array(groups))[0]
    cases = [case for content in contents for case in content["cases"].values()]
    rows = pd.DataFrame(
        [
            {"case": place, "label": label, **{name: math.nan if v is None else v for name, v in scores.items()}}
            for place, case in enumerate(cases)
            for label, scores in case.items()
        ]
    )
    names = [name for name in EVALUATORS["SegmentationScores"].scores if name in rows]
    table = rows.groupby("case")[names].mean()
    for label, part in rows.groupby("label", sort=False):
        table = table.join(part.set_index("case")[names].add_suffix(f"_{label.replace(' ', '_')}"))
    values = table.to_numpy(float)
    drawn = [weighted_means(values, weights) for weights in bootstrap_weights(len(values), RESAMPLES, 0, groups)]
    drawn = np.concatenate([np.empty((0, values.shape[1])), *drawn])
    pooled = {}
    for name, value, draws in zip(table, table.mean(), drawn.T, strict=True):
        low, high = interval(draws)
        pooled |= {name: float(value), f"{name}_low": low, f"{name}_high": high}
    return pooled


def _no_groups(file: str) -> str:
    return (
        f"{file} of a fold has no groups (patients), so it was written by an earlier version: remove result.json of "
        "each fold and give the command again, which tests the trained folds again"
    )
