"""Reliability diagrams: the share of right answers against the confidence they were given with."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from vdt3d.visualization.comparison import COLOURS, MARKERS


def reliability_diagram(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]], notes: Mapping[str, str] | None = None
) -> Figure:
    """A line for each curve over the diagonal, where a calibrated model lies: below it, answers are too sure; and, in
    grey or colour beneath, the share of answers in each bin.

    Args:
        curves: name to (bins,) confidence, accuracy and count, as ``vdt3d.evaluation.reliability`` gives them.
        notes: what the legend adds to a name.

    Raises:
        ValueError: there are no curves.
    """
    if not curves:
        raise ValueError("there are no curves to draw")
    figure = Figure(figsize=(4.4, 5.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1, label="calibrated")
    for index, (name, (confidence, accuracy, count)) in enumerate(curves.items()):
        look = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}
        label = ", ".join(filter(None, (name, (notes or {}).get(name))))
        upper.plot(confidence, accuracy, label=label, linewidth=1.6, markersize=4, **look)
        lower.plot(confidence, count / count.sum(), linewidth=1.2, markersize=3, **look)
    upper.set_xlim(0, 1)
    upper.set_ylim(0, 1)
    upper.set_ylabel("share of right answers", fontsize=9)
    upper.legend(fontsize=8, frameon=False)
    lower.set_ylim(bottom=0)
    lower.set_ylabel("share of answers", fontsize=9)
    lower.set_xlabel("confidence", fontsize=9)
    for axes in (upper, lower):
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
