"""Learning curves of one or several runs, from the ``scalars.json`` lines that mmengine's local backend writes."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vdt3d.visualization.grid import PALETTE

STYLES = ("-", "--", ":", "-.")  # lines are told apart without their colour, too


def learning_curves(runs: Mapping[str, str | Path], scores: Sequence[str] = ("auc", "accuracy")) -> Figure:
    """The training loss per iteration and each validation score per epoch, one line per run.

    Args:
        runs: name to work directory (or to one ``scalars.json``).
        scores: names as validation reports them.

    Raises:
        FileNotFoundError, ValueError: see ``read_scalars``; or a run has no value of that name.
    """
    figure = Figure(figsize=(3.6 * (1 + len(scores)), 3.0), layout="constrained")
    panels = figure.subplots(1, 1 + len(scores), squeeze=False)[0]
    tables = {name: read_scalars(path) for name, path in runs.items()}
    for axes, score in zip(panels, ("loss", *scores), strict=True):
        for index, (name, table) in enumerate(tables.items()):
            values = table[table["name"] == score].set_index("step")["value"]
            if values.empty:
                raise ValueError(f"{runs[name]}: no '{score}' in it; there are {', '.join(sorted(set(table['name'])))}")
            look = {"color": PALETTE[(4 + index) % len(PALETTE)], "linestyle": STYLES[index % len(STYLES)]}
            if score == "loss":  # noisy: the values faintly, their running mean on top
                axes.plot(values, color=look["color"], alpha=0.25, linewidth=0.8)
                values = values.rolling(max(1, len(values) // 20), min_periods=1).mean()
            axes.plot(values, label=name, linewidth=1.6, marker="o" if len(values) == 1 else None, **look)
        axes.set_title("training loss" if score == "loss" else f"validation {score.replace('_', ' ')}", fontsize=10)
        axes.set_xlabel("iteration" if score == "loss" else "epoch", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(fontsize=8, frameon=False)
    return figure


def read_scalars(path: str | Path) -> pd.DataFrame:
    """Columns ``name, step, value`` of a run; where a resumed run wrote a step again, the newer value counts.

    Args:
        path: a work directory (its runs are read in order of time) or a ``scalars.json``.

    Raises:
        FileNotFoundError: there is no ``scalars.json``.
        ValueError: a line is not JSON.
    """
    path = Path(path)
    files = sorted(path.glob("*/vis_data/scalars.json")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise FileNotFoundError(
            f"{path}: no scalars.json; is it a work directory, and LocalVisBackend among vis_backends?"
        )
    records = []
    for file in files:
        lines = file.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
            except json.JSONDecodeError as error:
                if number == len(lines):  # a run that was killed while it wrote
                    continue
                raise ValueError(f"{file}:{number}: not a line of JSON ({error}); remove it") from error
            step = entry.pop("step")
            if step > 0:  # a validation outside training says step 0
                records += [(name, step, value) for name, value in entry.items()]
    table = pd.DataFrame(records, columns=["name", "step", "value"])
    return table.drop_duplicates(["name", "step"], keep="last").sort_values(["name", "step"], ignore_index=True)
