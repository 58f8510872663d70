"""FROC curves of one or several detectors, from the json files that ``DetectionScores`` writes."""

import json
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from vdt3d.visualization.comparison import COLOURS, MARKERS
from vdt3d.visualization.curves import STYLES

MARKED = (0.5, 1, 2, 4, 8, 16)  # false positives per image


def froc_curves(runs: Mapping[str, str | Path]) -> Figure:
    """Sensitivity against false positives per image (log scale), a line for each run.

    The legend tells ``froc``, the mean at the rates that bear a marker. The band is the 95 % interval, where the run
    was scored with ``resamples``.

    Args:
        runs: name to the ``out`` of its ``DetectionScores``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: there are no runs, or a file is no such json or has no true boxes.
    """
    if not runs:
        raise ValueError("there are no curves to draw")
    figure = Figure(figsize=(5.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for index, (name, path) in enumerate(runs.items()):
        report = _read(Path(path))
        curve, colour = report["curve"], COLOURS[index % len(COLOURS)]
        rates = curve["false_positives"]
        if "low" in curve and curve["low"][0] is not None:  # of one or two patients there is no interval
            ends = (curve["low"], curve["high"])
            axes.fill_between(rates, *ends, step="post", color=colour, alpha=0.15, linewidth=0)
        axes.step(
            rates,
            curve["sensitivity"],
            where="post",
            label=f"{name}, {report['scores']['froc']:.3f}",
            color=colour,
            linestyle=STYLES[index % len(STYLES)],
            marker=MARKERS[index % len(MARKERS)],
            markevery=[rates.index(rate) for rate in MARKED],
            markersize=4,
            linewidth=1.6,
        )
    axes.set_xscale("log")
    axes.set_xlim(rates[0], rates[-1])
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_locator(FixedLocator([rates[0], 0.25, *MARKED]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
    axes.set_xlabel("false positives per image", fontsize=9)
    axes.set_ylabel("sensitivity", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(title="mean sensitivity", title_fontsize=8, fontsize=8, frameon=False, handlelength=3.2)
    return figure


def _read(path: Path) -> dict:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        known = report["curve"]["sensitivity"][0]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path}: no json that DetectionScores wrote ({error!r}); give what its out names") from error
    if known is None:
        raise ValueError(f"{path}: there was no true box to find, so there is no curve")
    return report
