"""Pictures of a comparison: learning curves of its arms, and their test scores against the share of the labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from vdt3d.visualization.curves import STYLES
from vdt3d.visualization.grid import PALETTE

REFERENCE = "scratch"
COLOURS = [PALETTE[index] for index in (4, 5, 2, 6, 1, 0)]  # without the yellow, too faint for a line on white
MARKERS = "osD^vPX*"


def score_curves(results: Sequence[Mapping[str, Any]], score: str) -> Figure:
    """The validation score against the steps, a panel for each share of the labels.

    Args:
        results: each with ``arm``, ``fraction``, ``seed`` and ``validation``, its list of (step, score). A line is the
            mean over seeds, at the steps that all of them have; its band goes from the lowest to the highest of them.

    Raises:
        ValueError: there are none.
    """
    _require(results)
    fractions = sorted({result["fraction"] for result in results})
    figure = Figure(figsize=(max(4.2, 3.4 * len(fractions)), 3.4), layout="constrained")
    panels = figure.subplots(1, len(fractions), squeeze=False, sharey=True)[0]
    for fraction, axes in zip(fractions, panels, strict=True):
        for arm, look in _looks(results).items():
            runs = [
                pd.Series(dict(result["validation"]), dtype=float)
                for result in results
                if (result["arm"], result["fraction"]) == (arm, fraction)
            ]
            if not runs:
                continue
            curves = pd.concat(runs, axis=1, join="inner").sort_index()
            low, high = curves.min(axis=1), curves.max(axis=1)
            axes.fill_between(curves.index, low, high, color=look["color"], alpha=0.15, linewidth=0)
            axes.plot(curves.index, curves.mean(axis=1), label=arm, linewidth=1.6, markersize=3.5, **look)
        axes.set_title(f"{_percent(fraction)} of the labels", fontsize=10)
        axes.set_xlabel("steps", fontsize=9)
        _plain(axes)
    panels[0].set_ylabel(f"validation {score}", fontsize=9)
    _legend(figure, panels)
    return figure


def saving_curves(results: Sequence[Mapping[str, Any]], score: str) -> Figure:
    """The test score against the share of the labels (log scale): means as lines, seeds as points.

    A dashed level marks 'scratch' with all labels, where it has such runs: an arm that crosses it on the left saves
    annotations.

    Args:
        results: each with ``arm``, ``fraction``, ``seed`` and ``test``, its scores by name.

    Raises:
        ValueError: there are none.
    """
    _require(results)
    table = pd.DataFrame(
        [{"arm": r["arm"], "fraction": r["fraction"], "value": r["test"][score]} for r in results]
    ).sort_values("fraction")
    figure = Figure(figsize=(5.4, 4.2), layout="constrained")
    axes = figure.subplots()
    level = table[(table.arm == REFERENCE) & (table.fraction == 1)].value.mean()
    if not np.isnan(level):
        axes.axhline(level, color="black", linestyle="--", linewidth=1, label=f"{REFERENCE}, all labels")
    for arm, look in _looks(results).items():
        part = table[table.arm == arm]
        axes.plot(part.groupby("fraction").value.mean(), label=arm, linewidth=1.6, markersize=5, **look)
        axes.plot(part.fraction, part.value, look["marker"], color=look["color"], alpha=0.3, markersize=3.5)
    fractions = sorted(table.fraction.unique())
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(fractions))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: _percent(share)))
    axes.set_xlabel("share of the labels", fontsize=9)
    axes.set_ylabel(f"test {score}", fontsize=9)
    _plain(axes)
    _legend(figure, [axes])
    return figure


def _looks(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Colour, line and marker of each arm, in order of appearance; scratch is black."""
    arms = list(dict.fromkeys(result["arm"] for result in results))
    others = [arm for arm in arms if arm != REFERENCE]
    looks = {
        arm: {
            "color": COLOURS[index % len(COLOURS)],
            "linestyle": STYLES[index % len(STYLES)],
            "marker": MARKERS[index % len(MARKERS)],
        }
        for index, arm in enumerate(others)
    }
    return {arm: looks.get(arm, {"color": "black", "linestyle": "-", "marker": "."}) for arm in arms}


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    columns = max(1, min(len(handles), int(figure.get_figwidth() / 1.3)))
    look = {"ncols": columns, "fontsize": 8, "frameon": False, "handlelength": 3.2}
    figure.legend(handles.values(), handles, loc="outside lower center", **look)


def _plain(axes: Axes) -> None:
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3g} %"


def _require(results: Sequence) -> None:
    if not results:
        raise ValueError("there are no results to draw")
