"""Scores of one segmented case, label by label, and of many cases together."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.ndimage import find_objects

from vdt3d.evaluation.intervals import bootstrap_weights, interval, weighted_means
from vdt3d.evaluation.overlap import dice, iou, label_counts, regions_of, volume_difference
from vdt3d.evaluation.surface import Definition, grown, surface_scores
from vdt3d.structures import IGNORED, LabelMap, describe_grids

COUNTS = ("both", "only_guess", "only_truth")  # the voxels behind the scores: they add up over cases, scores do not


def case_scores(
    guess: LabelMap,
    truth: LabelMap,
    labels: Mapping[str, int | Sequence[int]],
    *,
    definition: Definition = "monai",
    tolerance: float | Mapping[str, float] = 1.0,
    ignore_index: int | None = IGNORED,
    surface: bool = True,
) -> dict[str, dict[str, float]]:
    """Of each label the voxel counts ``both, only_guess, only_truth``, the scores ``dice, iou, volume_difference`` (see
    ``vdt3d.evaluation.overlap``) and, with ``surface``, ``hd95, assd, mssd, nsd`` (see ``vdt3d.evaluation.surface``).

    Args:
        guess: the prediction, one channel, on the grid of ``truth``.
        truth: the reference.
        labels: what is scored, by name: a label, or several that make up one region; regions may overlap.
        definition: whose rules the distances follow.
        tolerance: of ``nsd``, in mm: one for all labels, or one for each by name.
        ignore_index: voxels that bear it in ``truth`` belong to nothing, in the guess either; None: none do.

    Raises:
        ValueError: the two lie on different grids or hold several channels, ``tolerance`` names other labels, or see
            ``label_counts``.
    """
    tolerances = tolerance_of(labels, tolerance)
    check_grids(guess, truth)
    guessed, true = (numbers_of(labelled) for labelled in (guess, truth))
    counts = label_counts(guessed, true, labels.values(), ignore_index)
    values = {"dice": dice(counts), "iou": iou(counts), "volume_difference": volume_difference(counts)}
    scores = {
        name: {
            **dict(zip(COUNTS, counted.tolist(), strict=True)),
            **{score: float(value[row]) for score, value in values.items()},
        }
        for row, (name, counted) in enumerate(zip(labels, counts, strict=True))
    }
    if not surface:
        return scores
    if ignore_index is not None and (ignored := true == ignore_index).any():
        guessed = np.where(ignored, true, guessed)
    regions = dict(zip(labels, regions_of(labels.values(), ignore_index), strict=True))
    highest = max(int(region.max()) for region in regions.values())
    boxes = [find_objects(array, highest) for array in (guessed, true)]  # of all labels in one pass over each map
    for name, region in regions.items():
        box = _box(boxes, region)
        masks = [np.isin(array[box], region) for array in (guessed, true)]
        scores[name] |= surface_scores(*masks, truth.spacing, definition=definition, tolerance=tolerances[name])
    return scores


def tolerance_of(labels: Collection[str], tolerance: float | Mapping[str, float]) -> dict[str, float]:
    """Return the tolerance of ``nsd`` of each label, in mm.

    Raises:
        ValueError: a mapping names other labels than these, or not all.
    """
    if not isinstance(tolerance, Mapping):
        return dict.fromkeys(labels, tolerance)
    if tolerance.keys() != set(labels):
        raise ValueError(
            f"tolerance names {', '.join(map(repr, tolerance))}, the labels are {', '.join(map(repr, labels))}; give "
            "one number for all labels, or one for each of them"
        )
    return dict(tolerance)


def numbers_of(labelled: LabelMap) -> np.ndarray:
    """The labels (D, H, W)."""
    array = np.asarray(labelled.array)[0]  # read whole, where it waits in a cache
    return array.view(np.uint8) if array.dtype == bool else array


def check_grids(guess: LabelMap, truth: LabelMap) -> None:
    """Refuse what cannot be compared voxel by voxel.

    Raises:
        ValueError: the two lie on different grids or hold several channels.
    """
    for whose, labelled in (("prediction", guess), ("reference", truth)):
        if labelled.channels != 1:
            raise ValueError(f"the {whose} holds {labelled.channels} channels; one channel of labels is scored")
    if not guess.same_grid(truth):
        ours, theirs = describe_grids(guess, truth)
        raise ValueError(
            f"the prediction, {ours}, does not lie on the grid of its reference, {theirs}; resample it to that grid "
            "(nearest neighbour)"
        )


def _box(boxes: Sequence[Sequence], region: np.ndarray) -> tuple[slice, ...]:
    """What holds the region in both maps, grown by a voxel."""
    found = [box for of_map in boxes for label in region if (box := of_map[label - 1]) is not None]
    if 0 in region or not found:  # the background has no box of its own
        return (slice(None),) * 3
    sides = zip(*found, strict=True)
    return grown([slice(min(s.start for s in side), max(s.stop for s in side)) for side in sides])


def summary(
    cases: Mapping[str, Mapping[str, Mapping[str, float]]],
    *,
    subsets: Mapping[str, Sequence[str]] | None = None,
    groups: Mapping[str, str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """What ``case_scores`` of many cases come to: ``labels.NAME.SCORE`` for each label, ``mean.SCORE`` for all of them,
    and ``subsets.NAME.SCORE`` for those of a subset.

    Each is a dict: ``mean`` over the cases; ``low`` and ``high``, its 95 % bootstrap interval; ``counted``, how many
    values went in; ``absent``, how many were nan (in neither map), and ``infinite``, how many were infinite (distances
    where only one map has the label): both are left out, so read a distance beside its ``infinite``. ``mean.SCORE`` is
    the mean over cases of each case's mean over its labels. Beside them ``dice_pooled`` and ``iou_pooled``, plain
    numbers: the score of all cases' voxels counted together; in ``mean`` the mean over labels of these. A subset has
    what ``mean`` would be, were its labels all there are.

    Args:
        cases: by name; the order does not matter.
        subsets: by name, labels whose means are told besides.
        groups: what is resampled as one (the patient), by the name of the case; default: every case by itself.
        resamples: of the bootstrap; 0: no intervals.
        seed: of the bootstrap.

    Raises:
        ValueError: there are no cases, or a subset names what is no label of theirs, or nothing.
    """
    if not cases:
        raise ValueError("there are no cases to sum up")
    names = sorted(cases)
    labels = list(cases[names[0]])
    check_subsets(subsets or {}, labels)
    scores = [score for score in cases[names[0]][labels[0]] if score not in COUNTS]
    values = np.array([[[cases[name][label][score] for score in scores] for label in labels] for name in names], float)
    counts = np.array([[[cases[name][label][count] for count in COUNTS] for label in labels] for name in names])

    table = np.concatenate([values, _mean(values, axis=1)[:, None]], axis=1)  # each case's mean is its last row
    means = _mean(table, axis=0)
    of_group = None if groups is None else np.array([groups[name] for name in names])
    drawn = [weighted_means(table, weights) for weights in bootstrap_weights(len(names), resamples, seed, of_group)]
    drawn = np.concatenate([np.empty((0, *means.shape)), *drawn])
    pooled = {score: rule(counts.sum(0)) for score, rule in (("dice", dice), ("iou", iou))}
    pooled = {score: np.append(value, _mean(value, axis=0)) for score, value in pooled.items()}

    def entry(row: int, told: np.ndarray) -> dict[str, Any]:
        """One row of the table, and what became of the values (..., scores) it is made of."""
        found: dict[str, Any] = {}
        for column, score in enumerate(scores):
            ends = zip(("low", "high"), interval(drawn[:, row, column]), strict=True) if resamples else ()
            value = told[..., column]
            left_out = {"absent": int(np.isnan(value).sum()), "infinite": int(np.isinf(value).sum())}
            counted = value.size - sum(left_out.values())
            found[score] = {"mean": float(means[row, column]), **dict(ends), "counted": counted, **left_out}
        return found | {f"{score}_pooled": float(value[row]) for score, value in pooled.items()}

    report = {
        "labels": {label: entry(row, values[:, row]) for row, label in enumerate(labels)},
        "mean": entry(len(labels), values),
    }
    if subsets:
        report["subsets"] = {
            subset: summary(
                {name: {label: cases[name][label] for label in members} for name in names},
                groups=groups,
                resamples=resamples,
                seed=seed,
            )["mean"]
            for subset, members in subsets.items()
        }
    return report


def check_subsets(subsets: Mapping[str, Sequence[str]], labels: Collection[str]) -> None:
    """Raise ValueError unless each of the subsets is some of ``labels``, by a name that no score of them has."""
    taken = {label.replace(" ", "_") for label in labels} | {"pooled", "low", "high"}
    for subset, members in subsets.items():
        unknown = [member for member in members if member not in labels]
        if unknown or not members:
            found = f"names {', '.join(map(repr, unknown))}" if unknown else "names nothing"
            raise ValueError(f"the subset '{subset}' {found}; the labels are {', '.join(map(repr, labels))}")
        if subset.replace(" ", "_") in taken:
            raise ValueError(f"the subset '{subset}' would be told as another score is, 'dice_{subset}'; rename it")


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean of what is finite; nan where nothing is."""
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(finite, values, 0).sum(axis) / finite.sum(axis)
