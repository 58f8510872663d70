"""Can a model learn a handful of cases by heart? If not, what the evidence points to: labels, rate, inputs, weights."""

import copy
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from vdt3d.engine.runner import Runner
from vdt3d.experiments.comparison import cases_of
from vdt3d.experiments.lr_finder import no_default_hooks
from vdt3d.registry import DATASETS
from vdt3d.utils.files import write_json

ENOUGH = 0.98
ALMOST = 0.9  # what trains on something other than it is scored on does not come so far
VALIDATIONS = 10
TRUTHS = ("gt_label", "gt_labels", "gt_boxes")  # fields of data samples


@dataclass
class Evidence:
    """What was seen before, during and after the training of a handful of cases.

    Fields:
        losses: of every step; the last one may be no number.
        scores: of every validation that of ``mastery``.
        trainable, moved: how many parameters may be trained, and how many stand in tensors that changed.
        still: parts of the model of which nothing changed.
        mean, std: of the inputs, as the network is fed them.
        contradictions: names of cases whose input came with several different labels.
        agreement: the least of all cases' ``neighbour_agreement``; nan where labels are not per voxel.
    """

    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    trainable: int = 0
    moved: int = 0
    still: list[str] = field(default_factory=list)
    mean: float = 0.0
    std: float = 1.0
    contradictions: list[str] = field(default_factory=list)
    agreement: float = math.nan

    @property
    def score(self) -> float:
        """The best of ``scores``; nan where there is none that is a number."""
        return max((score for score in self.scores if math.isfinite(score)), default=math.nan)

    @property
    def learned(self) -> bool:
        """Whether the cases are known by heart."""
        return self.score > ENOUGH


def diagnose(seen: Evidence) -> list[str]:
    """What keeps the cases from being learned by heart, the most telling first; empty if they are."""
    if seen.learned:
        return []
    found = []
    if not seen.trainable:
        return ["frozen: no parameter may be trained (requires_grad); look at frozen_stages and freezing hooks"]
    if seen.losses and not math.isfinite(seen.losses[-1]):
        found.append(
            f"rate: the loss was no number at step {len(seen.losses)}; take a tenth of the learning rate (vdt3d "
            "lr-find suggests one), and look for values in the inputs that are no numbers"
        )
    elif not seen.moved:
        found.append("frozen: no parameter changed; the learning rate or all gradients are 0")
    elif seen.still:
        found.append(f"frozen: nothing changed in {', '.join(seen.still)}")
    if seen.contradictions:
        found.append(f"labels: the same input came with different labels: {', '.join(seen.contradictions)}")
    if seen.agreement < 0.3:
        found.append(
            f"labels: only {seen.agreement:.0%} of neighbours agree where something is labelled, as in noise; are the "
            "label maps read in another order or shape than they were written?"
        )
    if abs(seen.mean) > 3 or not 0.1 <= seen.std <= 10:
        found.append(
            f"inputs: their mean is {seen.mean:.3g} and their standard deviation {seen.std:.3g}, where networks want "
            "about 0 and 1; normalise them in the pipeline or the data_preprocessor"
        )
    if seen.losses and math.isfinite(seen.losses[-1]) and seen.moved:
        found.append(_of_loss(seen))
    return found


def _of_loss(seen: Evidence) -> str:
    tenth = max(1, len(seen.losses) // 10)
    first, last = seen.losses[0], float(np.mean(seen.losses[-tenth:]))
    told = f"the loss went from {first:.3g} to {last:.3g}"
    if seen.score > ALMOST:
        return f"steps: {told}, and the score came to {seen.score:.3g}: nearly there; try more --steps"
    if last < 0.25 * first:
        return (
            f"labels or scores: {told}, yet the score is {seen.score:.3g}: what is trained on is not what is scored; "
            "compare label maps and references (vdt3d browse), the order of classes, and how predictions go back"
        )
    if last < 0.9 * first:
        return f"rate or steps: {told}, so it learns, but too slowly or too little; try more --steps, or vdt3d lr-find"
    return (
        f"loss or rate: {told}; does the loss fit the labels? A rate too high or too low does this, too: vdt3d lr-find"
    )


def mastery(scores: Mapping[str, float]) -> tuple[str, float]:
    """The name and value, at best 1, of what of an evaluator's scores tells whether cases are known by heart.

    Raises:
        ValueError: there is none of them.
    """
    if "log_loss" in scores:  # with a few cases, accuracy may be luck
        return "mean probability of the truth", math.exp(-scores["log_loss"])
    for name, best in {"dice": 1, "froc": 1, "accuracy/top1": 100}.items():
        if name in scores:
            return name, scores[name] / best
    raise ValueError(f"of the scores {', '.join(scores)} none tells whether cases are known by heart")


def overfit(config: Config, *, cases: int = 2, steps: int = 1200) -> tuple[str, Evidence]:
    """Train a config on ``cases`` of its training set until it knows them by heart, and write overfit.json.

    Off are random transforms (but crops, which settle a size), dropout, weight decay, mixing of samples and hooks. The
    learning rate falls from the config's to 0. The score is that of ``val_evaluator`` on the very cases.

    Args:
        config: with a ``work_dir``.
        cases: scans, of as many classes as there are.
        steps: at most.

    Returns:
        The name of the score, and what was seen.

    Raises:
        ValueError: fewer cases or steps than one, or the training set has too few or cannot be taken apart.
    """
    if min(cases, steps) < 1:
        raise ValueError(f"it takes a case and a step at least, got {cases} and {steps}")
    out = Path(config.work_dir)
    config = calm(config, cases=cases, steps=steps)
    runner = Runner.from_cfg(config)
    without_dropout(runner.model)
    watch = _Watch()
    runner.register_hook(watch)
    seen = watch.seen
    seen.trainable = sum(parameter.numel() for parameter in runner.model.parameters() if parameter.requires_grad)
    if seen.trainable:
        look_at_inputs(runner, seen)
        runner.train()
    advice = diagnose(seen)
    told = {"learned": seen.learned, "score": seen.score, "of": watch.name, "advice": advice}
    write_json(out / "overfit.json", told | asdict(seen))
    return watch.name, seen


def calm(config: Config, *, cases: int, steps: int) -> Config:
    """The config of such a training; the other one stays as it is.

    Raises:
        ValueError: as ``overfit``.
    """
    config = copy.deepcopy(config)
    place, few = cases_of(config)
    few = handful(few, cases, place)
    scored, own = config.val_dataloader.dataset, {}
    for key in ("pipeline", "whole_scans"):
        if key in scored:
            own[key] = scored[key]
    windows = place != "train_dataloader.dataset"
    loader = config.train_dataloader
    if scored.get("whole_scans"):  # as large as they are they may not fit into a batch: patches stay patches
        loader.dataset.pipeline = without_augmentation(loader.dataset.pipeline)
        if windows:
            loader.dataset.dataset = few
        else:
            loader.dataset = {**few, "pipeline": loader.dataset.pipeline}
    else:
        loader.dataset = {**few, **own}
    loader.update(batch_size=min(loader.batch_size, cases), num_workers=0, drop_last=False)
    loader.sampler = dict(type="DefaultSampler", shuffle=True)
    config.val_dataloader.update(dataset={**few, **own}, num_workers=0)
    config.val_dataloader.sampler = dict(type="DefaultSampler", shuffle=False)
    config.train_cfg = dict(by_epoch=False, max_iters=steps, val_interval=max(1, steps // VALIDATIONS))
    config.optim_wrapper.optimizer.weight_decay = 0.0
    config.model.pop("train_cfg", None)  # mixing of samples
    config.param_scheduler = dict(type="CosineAnnealingLR", by_epoch=False)  # to 0, where the steps end
    config.auto_scale_lr = None
    config.default_hooks = no_default_hooks(config, kept=("runtime_info", "timer", "param_scheduler", "progress"))
    config.custom_hooks, config.resume = [], False
    config.work_dir = str(Path(config.work_dir) / "overfit")
    return config


def handful(settings: Mapping[str, Any], cases: int, place: str) -> dict[str, Any]:
    """The config of a data set of ``cases`` of its cases: the first of each class in turn, of detection with boxes.

    Raises:
        ValueError: it has too few, or is none of which a part can be taken.
    """
    init_default_scope("vdt3d")
    dataset = DATASETS.build(settings)
    if isinstance(dataset, BaseDataset):
        dataset.full_init()
        known = {index: dataset.get_data_info(index) for index in range(len(dataset))}
        classes = pd.Series(
            {
                index: case.get("target", case.get("gt_label", 0))
                for index, case in known.items()
                if len(case.get("boxes", "some"))
            }
        )
        chosen = classes.groupby(classes).cumcount().sort_values(kind="stable").index[:cases].tolist()
        part, count = {"indices": sorted(_own_places(settings, chosen))}, len(chosen)
    elif "cases" in settings:
        part, count = {"cases": cases}, len(dataset)
    else:
        raise ValueError(f"{place} is a {type(dataset).__name__}, of which no part can be taken")
    if count < cases:
        raise ValueError(f"{place} has {count} cases to learn, fewer than {cases}")
    return {**settings, **part}


def _own_places(settings: Mapping[str, Any], chosen: Sequence[int]) -> list[int]:
    """Places in the data set without ``indices`` of those with them."""
    before = settings.get("indices")
    return [before[place] for place in chosen] if isinstance(before, Sequence) else list(chosen)


def without_augmentation(pipeline: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A pipeline of volumes without its random transforms, but those that settle a size, which cut and no more."""
    kept = []
    for step in map(dict, pipeline):
        if not step["type"].startswith("Random"):
            kept.append(step)
        elif step["type"] == "RandomSpatial3D" and step.get("size") is not None:
            kept.append({**step, "rotate_prob": 0, "scale_prob": 0, "elastic_prob": 0})
        elif "size" in step or "depth" in step:
            kept.append({**step, "shift": 0} if "shift" in step else step)
    return kept


def without_dropout(model: nn.Module) -> None:
    """Let nothing be dropped: no values, channels, paths or attention weights."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        elif isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
        elif "drop_prob" in vars(module):  # stochastic depth, whoever's it is
            module.drop_prob = 0.0


def look_at_inputs(runner: Runner, seen: Evidence) -> None:
    """Read the training cases twice, and note what the network would be fed, and how labels go with it."""
    init_default_scope("vdt3d")
    loader = runner.build_dataloader(runner._train_dataloader)
    labels_of: dict[bytes, dict[bytes, str]] = {}
    fed = []
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            for image, sample in zip(batch["inputs"], batch["data_samples"], strict=True):
                truth = [sample.get(name) for name in TRUTHS if isinstance(sample.get(name), Tensor)]
                name = sample.get("sample_name") or "a case"
                labels_of.setdefault(_digest([image]), {})[_digest(truth)] = name
                if "gt_labels" in sample and sample.gt_labels.dim() == 3:
                    seen.agreement = np.fmin(seen.agreement, neighbour_agreement(sample.gt_labels.numpy())).item()
            data = runner.model.data_preprocessor(batch, training=True)["inputs"]
            fed += [part.float().cpu().flatten() for part in (data if isinstance(data, list | tuple) else [data])]
    values = torch.cat(fed).double()
    seen.mean, seen.std = values.mean().item(), values.std().item()
    seen.contradictions = sorted({name for found in labels_of.values() if len(found) > 1 for name in found.values()})


def _digest(tensors: Sequence[Tensor]) -> bytes:
    return hashlib.sha256(b"".join(tensor.contiguous().numpy().tobytes() for tensor in tensors)).digest()


def neighbour_agreement(labels_DHW: np.ndarray) -> float:
    """Of all neighbours along an axis of which one or both are labelled, the share that bear the same label.

    Organs come to 0.7 and more, a tube two voxels wide to 0.5, noise to less than the share of labelled voxels; nan
    where nothing is labelled.
    """
    same = some = 0
    for axis in range(labels_DHW.ndim):
        lines = np.moveaxis(labels_DHW, axis, 0)
        one, other = lines[1:], lines[:-1]
        labelled = (one != 0) | (other != 0)
        same, some = same + (labelled & (one == other)).sum(), some + labelled.sum()
    return float(same / some) if some else math.nan


class _Watch(Hook):
    """Gathers the evidence of a training, and ends it when the cases are known by heart or the loss is no number."""

    def __init__(self):
        self.seen, self.name = Evidence(), "score"

    def before_train(self, runner: Runner) -> None:
        self._before = [parameter.detach().clone() for parameter in runner.model.parameters()]

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self.seen.losses.append(outputs["loss"].item())
        if not math.isfinite(self.seen.losses[-1]):
            runner.train_loop.stop_training = True
            runner._val_loop = None  # what diverged has no score

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self.name, score = mastery(metrics)
        self.seen.scores.append(score)
        runner.train_loop.stop_training = self.seen.learned

    def after_train(self, runner: Runner) -> None:
        moved: dict[str, list[int]] = {}
        for (name, now), before in zip(runner.model.named_parameters(), self._before, strict=True):
            moved.setdefault(name.partition(".")[0], []).append(0 if torch.equal(now, before) else now.numel())
        self.seen.moved = sum(map(sum, moved.values()))
        self.seen.still = [part for part, counts in moved.items() if not any(counts)]
