"""Figures of a search for settings: the loss along a ramp of learning rates, and the trials of a search."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from vdt3d.visualization.grid import PALETTE


def rate_figure(
    rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], marks: Mapping[str, float | None]
) -> Figure:
    """The loss, faintly, and the smoothed loss over the learning rate, with the rates in ``marks`` by their names."""
    figure = Figure(figsize=(5.5, 3.5), layout="constrained")
    axes = figure.subplots()
    finite = np.asarray(smoothed)[np.isfinite(smoothed)]
    axes.plot(rates, losses, color=PALETTE[4], alpha=0.3, linewidth=0.8, label="loss")
    axes.plot(rates, smoothed, color=PALETTE[4], linewidth=1.6, label="smoothed")
    known = {name: rate for name, rate in marks.items() if rate is not None}
    for (name, rate), style in zip(known.items(), ("-", "--", ":"), strict=False):
        axes.axvline(rate, color=PALETTE[5], linestyle=style, linewidth=1.2, label=f"{name}: {rate:.1e}")
    if len(finite):  # where it diverges, the rest of the curve would be a flat line
        low, start = finite.min(), finite[0]
        margin = max(0.1 * abs(start - low), 1e-12)
        axes.set_ylim(low - margin, start + 5 * margin)
    axes.set_xscale("log")
    _name(axes, "learning rate", "training loss")
    axes.legend(fontsize=8, frameon=False)
    return figure


def search_figure(
    values: Mapping[int, float], pruned: Sequence[int], importances: Mapping[str, float], *, score: str, greater: bool
) -> Figure:
    """The score of each finished trial with the best so far, the pruned ones marked; beside it what mattered how much.

    Args:
        values: number of a trial to its score.
        pruned: numbers of the trials that were given up early.
        importances: setting to its share; empty where too few trials tell.
    """
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    history, bars = figure.subplots(1, 2)
    numbers = sorted(values)
    told = [values[number] for number in numbers]
    history.plot(numbers, told, "o", color=PALETTE[1], markersize=5, label="finished")
    if told:
        best = np.maximum.accumulate(told) if greater else np.minimum.accumulate(told)
        history.step(numbers, best, where="post", color=PALETTE[4], linewidth=1.6, label="best so far")
        history.plot(pruned, [min(told) if greater else max(told)] * len(pruned), "x", color=PALETTE[5], label="pruned")
        history.legend(fontsize=8, frameon=False)
    _name(history, "trial", score.replace("_", " "))
    names = list(reversed(importances))
    bars.barh(names, [importances[name] for name in names], color=PALETTE[2])
    _name(bars, "importance", "")
    return figure


def _name(axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
