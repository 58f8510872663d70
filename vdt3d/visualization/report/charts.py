"""The plots of a report: what the cases of one test come to, and curves of several runs."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

from vdt3d.visualization.comparison import COLOURS, MARKERS
from vdt3d.visualization.curves import STYLES, learning_curves
from vdt3d.visualization.froc import froc_curves
from vdt3d.visualization.reliability import reliability_diagram
from vdt3d.visualization.runs import validation_curves
from vdt3d.visualization.watching import watched_layers

MOST_PANELS = 6  # scores of validations that are drawn, labels whose volumes are
MOST_ROWS = 32  # classes of a confusion matrix
LIMITS = 1.96  # standard deviations of the differences, about 95 % of them (Bland and Altman 1986)


class Chart(NamedTuple):
    """A figure, or a picture's file, and what is said of it: a title, and the same in words for who cannot see it."""

    title: str
    figure: Figure | Path
    words: str


def charts(runs: Sequence[Any]) -> Iterator[Chart]:
    """Those that apply to these runs (``ReportRun``), of one kind of task or several."""
    yield from _of_training(runs)
    tested = {run.name: run.cases for run in runs if run.cases is not None}
    kinds = {
        kind: {name: told for name, told in tested.items() if told["kind"] == kind}
        for kind in ("segmentation", "classification", "detection")
    }
    yield from _of_labels(kinds["segmentation"])
    yield from _of_classes(kinds["classification"])
    sure = {run.name: run.reliability for run in runs if run.reliability is not None}
    if sure:
        words = "Share of right answers against confidence; on the diagonal a model is as often right as it says."
        yield Chart("Reliability", reliability_diagram(sure), words)
    found = {run.name: run.froc for run in runs if run.froc is not None}
    if found:
        words = "Sensitivity against false positives per image; the legend tells the mean at the marked rates."
        yield Chart("FROC", froc_curves(found), words)


def _of_training(runs: Sequence[Any]) -> Iterator[Chart]:
    losses = {run.name: run.losses for run in runs if run.losses is not None}
    if losses:
        yield Chart("Training loss", learning_curves(losses, ()), "Training loss against iterations.")
    tables = {run.name: run.validations for run in runs if run.validations is not None}
    best = [name for run in runs for name in run.records.get("train", {}).get("results", {}).get("best", {})]
    columns = dict.fromkeys(column for table in tables.values() for column in table)
    scores = [
        name for name in columns if name not in ("split", "epoch", "iter") and not name.endswith(("_low", "_high"))
    ]
    scores = list(dict.fromkeys([*(name for name in best if name in columns), *scores]))[:MOST_PANELS]
    for first in range(0, len(scores), 3):
        shown = scores[first : first + 3]
        yield Chart("Validation", validation_curves(tables, shown), f"{', '.join(shown)} against iterations.")
    for run in runs:
        if run.losses is not None and (figure := watched_layers(run.losses)) is not None:
            yield Chart(f"Layers watched, {run.name}", figure, "A row for each layer, a column for each look.")
        if run.pictures is not None:
            words = f"{run.pictures.stem.replace('_', ' ')}: what is true, and what the model said."
            yield Chart(f"Cases of a validation, {run.name}", run.pictures, words)


# ---- labels ----------------------------------------------------------------------------------------------------------


def _of_labels(tests: Mapping[str, Mapping[str, Any]]) -> Iterator[Chart]:
    values = {run: values_of(told["cases"], "dice") for run, told in tests.items()}
    values = {run: labels for run, labels in values.items() if labels}
    if not values:
        return
    of = {run: f" of {run}" if len(values) > 1 else "" for run in values}
    medians = [
        f"{label}{of[run]} {np.median(numbers):.3f}"
        for run, labels in values.items()
        for label, numbers in labels.items()
    ]
    yield Chart("Dice of every case", _boxes(values, "Dice"), f"Medians: {', '.join(medians[:40])}.")
    for run, told in tests.items():
        pairs = volumes_of(told["cases"])
        if pairs:
            title = "Volumes" if len(tests) == 1 else f"Volumes, {run}"
            yield Chart(title, bland_altman(pairs), _in_words(pairs))


def values_of(cases: Sequence[Mapping[str, Any]], score: str) -> dict[str, np.ndarray]:
    """Of every label the scores of the cases that have one."""
    told: dict[str, list[float]] = {}
    for case in cases:
        for label, numbers in case["labels"].items():
            if numbers.get(score) is not None:
                told.setdefault(label, []).append(numbers[score])
    return {label: np.array(numbers) for label, numbers in told.items()}


def volumes_of(cases: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Of every label (N, 2), the predicted and the true volume in ml, where either is not empty."""
    told: dict[str, list[tuple[float, float]]] = {}
    for case in cases:
        for label, numbers in case["labels"].items():
            if "truth_ml" in numbers and numbers["truth_ml"] + numbers["predicted_ml"] > 0:
                told.setdefault(label, []).append((numbers["predicted_ml"], numbers["truth_ml"]))
    return {label: np.array(pairs) for label, pairs in told.items()}


def _boxes(runs: Mapping[str, Mapping[str, np.ndarray]], score: str) -> Figure:
    """Median, quartiles and every case, for each label and run."""
    labels = list(dict.fromkeys(label for values in runs.values() for label in values))
    width = 0.8 / len(runs)
    figure = Figure(figsize=(max(4.2, 0.6 + 0.5 * len(labels) * (1 + 0.5 * len(runs))), 3.6), layout="constrained")
    axes = figure.subplots()
    rng = np.random.default_rng(0)  # spreads the points
    for number, (run, values) in enumerate(runs.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [place + (number - (len(runs) - 1) / 2) * width for place in range(len(labels))]
        for place, label in zip(places, labels, strict=True):
            if label not in values:
                continue
            numbers = values[label]
            look = {"color": colour, "linewidth": 1.4}
            parts = dict(boxprops=look, whiskerprops=look, capprops=look, medianprops={**look, "linewidth": 2.4})
            axes.boxplot(
                [numbers], positions=[place], widths=0.7 * width, showfliers=False, manage_ticks=False, **parts
            )
            across = place + rng.uniform(-0.25, 0.25, len(numbers)) * width
            marker = MARKERS[number % len(MARKERS)]
            axes.scatter(across, numbers, s=9, color=colour, marker=marker, alpha=0.55, linewidths=0)
        axes.plot([], [], color=colour, marker=MARKERS[number % len(MARKERS)], label=run)
    axes.set_xticks(
        range(len(labels)), labels, rotation=30 if len(labels) > 4 else 0, ha="right" if len(labels) > 4 else "center"
    )
    axes.set_ylabel(score, fontsize=9)
    axes.set_ylim(top=1.02)
    if len(runs) > 1:
        axes.legend(fontsize=8, frameon=False)
    return _plain(figure)


def bland_altman(pairs: Mapping[str, np.ndarray]) -> Figure:
    """Difference of predicted and true volume against their mean (Bland and Altman 1986), a panel for each label.

    Args:
        pairs: of each label (N, 2), predicted and true, in ml. ``MOST_PANELS`` are drawn, the first.
    """
    shown = dict(list(pairs.items())[:MOST_PANELS])
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(3.5 * columns, 2.9 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    for axes, (label, volumes) in zip(panels, shown.items(), strict=False):
        difference = volumes[:, 0] - volumes[:, 1]
        axes.scatter(volumes.mean(1), difference, s=14, color=COLOURS[0], alpha=0.7, linewidths=0)
        middle, spread = agreement(volumes)
        axes.axhline(middle, color=COLOURS[0], linewidth=1.6)
        for side in (-1, 1):
            axes.axhline(middle + side * spread, color=COLOURS[0], linewidth=1.2, linestyle="--")
        axes.axhline(0, color="0.6", linewidth=0.8)
        axes.set_title(label, fontsize=10)
        axes.set_xlabel("mean of both, ml", fontsize=9)
        axes.set_ylabel("predicted - true, ml", fontsize=9)
    return _plain(figure)


def agreement(volumes: np.ndarray) -> tuple[float, float]:
    """Of (N, 2), predicted and true: the mean difference, and how far the 95 % limits of agreement are from it."""
    difference = volumes[:, 0] - volumes[:, 1]
    return float(difference.mean()), LIMITS * float(difference.std(ddof=1)) if len(difference) > 1 else 0.0


def _in_words(pairs: Mapping[str, np.ndarray]) -> str:
    told = [(label, *agreement(volumes)) for label, volumes in pairs.items()]
    lines = [
        f"{label} {middle:+.3g} ml, limits of agreement {middle - far:+.3g} to {middle + far:+.3g}"
        for label, middle, far in told
    ]
    more = f" {len(pairs) - MOST_PANELS} more labels are not drawn." if len(pairs) > MOST_PANELS else ""
    return f"Predicted less true volume, in the mean: {'; '.join(lines)}.{more}"


# ---- classes ---------------------------------------------------------------------------------------------------------


def _of_classes(tests: Mapping[str, Mapping[str, Any]]) -> Iterator[Chart]:
    for run, told in tests.items():
        known = [case for case in told["cases"] if case["known"]]
        classes = names_of(told)
        if not known or len(classes) > MOST_ROWS:
            continue
        truth, guess = ([case[key] for case in known] for key in ("truth", "guess"))
        table = confusion_matrix(truth, guess, labels=range(len(classes)))
        title = "Confusion" if len(tests) == 1 else f"Confusion, {run}"
        right = int(table.trace())
        yield Chart(title, _confusion(table, classes), f"{right} of {len(known)} cases are on the diagonal, right.")
    curves = {
        f"{run}: {name}" if len(tests) > 1 else name: pair
        for run, told in tests.items()
        for name, pair in _decisions(told).items()
    }
    if curves:
        words = "ROC: sensitivity against the share of false alarms. Right: precision against sensitivity."
        yield Chart("ROC and precision-recall", _roc_and_pr(curves), words)


def names_of(told: Mapping[str, Any]) -> list[str]:
    """The classes of a test, numbered where the data set did not name them."""
    most = max((max(case["guess"], case["truth"] or 0) for case in told["cases"]), default=0)
    return told["classes"] or [str(number) for number in range(most + 1)]


def _decisions(told: Mapping[str, Any]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of two classes the second, of more each against the rest: truth (N,) and probability (N,)."""
    known = [case for case in told["cases"] if case["known"] and "probabilities" in case]
    if not known:
        return {}
    said, truth = np.array([case["probabilities"] for case in known]), np.array([case["truth"] for case in known])
    classes = told["classes"] or [str(number) for number in range(said.shape[1])]
    asked = [1] if said.shape[1] == 2 else range(min(said.shape[1], MOST_PANELS))
    return {classes[c]: (truth == c, said[:, c]) for c in asked if 0 < (truth == c).sum() < len(truth)}


def _confusion(table: np.ndarray, classes: Sequence[str]) -> Figure:
    side = max(3.4, 0.55 * len(classes) + 1.6)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(table):
        colour = "white" if share[row, column] > 0.55 else "black"
        axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(classes)), classes, rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(len(classes)), classes, fontsize=8)
    axes.set_xlabel("predicted", fontsize=9)
    axes.set_ylabel("true", fontsize=9)
    return figure


def _roc_and_pr(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    figure = Figure(figsize=(7.4, 3.6), layout="constrained")
    roc, pr = figure.subplots(1, 2)
    for number, (name, (truth, said)) in enumerate(curves.items()):
        look = dict(color=COLOURS[number % len(COLOURS)], linestyle=STYLES[number % len(STYLES)], linewidth=1.6)
        false, hit, _ = roc_curve(truth, said)
        precision, recall, _ = precision_recall_curve(truth, said)
        roc.plot(false, hit, label=name, **look)
        pr.step(recall, precision, where="post", label=name, **look)
    roc.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
    for axes, across, up in ((roc, "1 - specificity", "sensitivity"), (pr, "sensitivity", "precision")):
        axes.set_xlabel(across, fontsize=9)
        axes.set_ylabel(up, fontsize=9)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
    pr.legend(fontsize=8, frameon=False)
    return _plain(figure)


def _plain(figure: Figure) -> Figure:
    for axes in figure.axes:
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
