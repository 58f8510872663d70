"""Runs beside each other: a page with their table, what tells them apart, and their curves; one file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vdt3d.visualization.comparison import COLOURS, MARKERS
from vdt3d.visualization.curves import STYLES
from vdt3d.visualization.html import picture_uri, png, write_page

STYLE = """td { overflow-wrap: anywhere; }
img { max-width: 100%; }
"""
PAGE = """{% extends "page.html.j2" %}
{% block content %}
{% for title, head, rows in tables %}
<h2>{{ title }}</h2>
<div class="wide"><table>
<tr>{% for cell in head %}<th>{{ cell }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
{% endfor %}
{% if curves %}<h2>Validation</h2>
<img src="{{ curves }}" alt="validation scores of the runs against iterations">{% endif %}
{% endblock %}
"""


def write_runs_page(
    path: Path, tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]], curves: Figure | None
) -> None:
    """One self-contained page.

    Args:
        path: of the page; written aside, then renamed.
        tables: the title, the head and the rows of each.
        curves: what is drawn below them.
    """
    picture = None if curves is None else picture_uri(png(curves, dpi=150), "png")
    write_page(path, PAGE, title="Runs", style=STYLE, tables=tables, curves=picture)


def validation_curves(runs: Mapping[str, pd.DataFrame], scores: Sequence[str]) -> Figure:
    """Each score of the validations against iterations, a panel for each and a line for each run that has it.

    Args:
        runs: name to a table with the column ``iter`` and scores.
        scores: what is drawn, at least one.
    """
    figure = Figure(figsize=(4.0 * len(scores), 3.4), layout="constrained")
    for axes, score in zip(figure.subplots(1, len(scores), squeeze=False)[0], scores, strict=True):
        for index, (name, table) in enumerate(runs.items()):
            if score in table:
                look = {"color": COLOURS[index % len(COLOURS)], "linestyle": STYLES[index % len(STYLES)]}
                marker = MARKERS[index % len(MARKERS)]
                axes.plot(table["iter"], table[score], label=name, linewidth=1.6, marker=marker, markersize=3, **look)
        axes.set_title(score, fontsize=10)
        axes.set_xlabel("iterations", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, frameon=False)
    return figure
