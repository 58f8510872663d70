"""What ``WatchHook`` saw of a training: of every layer, look after look, in colours."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from vdt3d.visualization.curves import read_scalars

KINDS: Mapping[str, tuple[str, bool]] = {  # name to title, and whether its logarithm is shown
    "variance": ("variance of what it gives, log10", True),
    "dead": ("share of dead channels it is fed", False),
    "gradient": ("norm of its gradient, log10", True),
    "update": ("update over weight, log10", True),
}
MOST_NAMES = 40  # of layers, that fit beside a panel


def watched_layers(path: str | Path) -> Figure | None:
    """A panel for each kind of number, with a row for each layer and a column for each look; None if there was no look.

    Args:
        path: as ``read_scalars`` takes it.

    Raises:
        FileNotFoundError, ValueError: as ``read_scalars``.
    """
    table = read_scalars(path)
    table = table[table["name"].str.match(rf"watch/({'|'.join(KINDS)})/")]
    if table.empty:
        return None
    _, table["kind"], table["layer"] = zip(*(name.split("/", 2) for name in table["name"]), strict=True)
    layers = sorted(set(table["layer"]), key=_in_order)
    shown = [kind for kind in KINDS if (table["kind"] == kind).any()]
    height = 1.2 + 0.14 * min(len(layers), MOST_NAMES)
    figure = Figure(figsize=(2.6 * len(shown) + 1.6, height), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(shown), sharey=True, squeeze=False)[0], shown, strict=True):
        title, logarithm = KINDS[kind]
        seen = table[table["kind"] == kind].pivot(index="layer", columns="step", values="value").reindex(layers)
        values = seen.to_numpy(float)
        if logarithm:
            values = np.log10(np.where(values > 0, values, np.nan))
        ends = {} if logarithm else {"vmin": 0, "vmax": 1}
        drawn = axes.imshow(values, aspect="auto", cmap="viridis", interpolation="nearest", **ends)
        figure.colorbar(drawn, ax=axes, location="top", shrink=0.9).ax.tick_params(labelsize=7)
        columns = np.unique(np.linspace(0, seen.shape[1] - 1, 4).round().astype(int))
        axes.set_xticks(columns, seen.columns[columns], fontsize=7)
        axes.set_xlabel(f"{title}\nagainst iterations", fontsize=8)
        rows = np.unique(np.linspace(0, len(layers) - 1, MOST_NAMES).round().astype(int))
        axes.set_yticks(rows, [layers[row] for row in rows], fontsize=6)
    return figure


def _in_order(layer: str) -> list[tuple[int, str]]:
    """Names as one counts: layer2 before layer10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", layer)]
