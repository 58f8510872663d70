"""Runs beside each other: a page with their table, what tells them apart, and their curves; one file."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import pandas as pd
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vdt3d.utils.files import write_aside
from vdt3d.visualization.comparison import COLOURS, MARKERS
from vdt3d.visualization.curves import STYLES

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Runs</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 90rem; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { border-bottom: 1px solid #8888; padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top; }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
img { background: #fff; max-width: 100%; }
</style>
</head>
<body>
<h1>Runs</h1>
{% for title, head, rows in tables %}
<h2>{{ title }}</h2>
<div class="wide"><table>
<tr>{% for cell in head %}<th>{{ cell }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
{% endfor %}
{% if curves %}<h2>Validation</h2>
<img src="{{ curves }}" alt="validation scores of the runs against iterations">{% endif %}
</body>
</html>
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
    picture = None
    if curves is not None:
        file = BytesIO()
        curves.savefig(file, format="png", dpi=150)
        picture = f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(PAGE)
    text = page.render(tables=tables, curves=picture)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_aside(path, lambda aside: aside.write_text(text, encoding="utf-8"))


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
