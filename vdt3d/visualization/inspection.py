"""The page about a data set: its numbers in charts, what is odd in words and pictures; one self-contained file."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from vdt3d.structures import LabelMap, Sample
from vdt3d.visualization.grid import PALETTE
from vdt3d.visualization.html import NOTE, jpeg, picture_uri, png, write_page
from vdt3d.visualization.sheets import paint, to_grey

SIDE = 128  # pixels of the longer side of a picture
GREY = "#888888"  # of text and axes: to be read on white and on black
BINS = 60

STYLE = """.charts img { max-width: 100%; }
section { overflow-wrap: anywhere; }
.cases { display: flex; flex-wrap: wrap; gap: .75rem; }
.cases figure { font-size: .8rem; width: 9rem; }
.cases img { background: #000; display: block; image-rendering: pixelated; max-width: 100%; }
"""
PAGE = """{% extends "page.html.j2" %}
{% block content %}
<table>
<tr>{% for head in counts[0] %}<th>{{ head }}</th>{% endfor %}</tr>
{% for row in counts %}<tr>{% for cell in row.values() %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>
{% if not kinds %}<p>Nothing was found.</p>{% endif %}
{% for kind in kinds %}
<section>
<h2>{{ kind.title }} ({{ kind.count }})</h2>
{% for finding in kind.findings %}
<p>{{ finding.text }}</p>
<div class="cases">
{% for case in finding.cases %}
<figure>{% if case.picture %}<img src="{{ case.picture }}" alt="{{ case.name }}">{% endif %}
<figcaption>{{ case.name }}<br>{{ case.note }}</figcaption></figure>
{% endfor %}
</div>
{% if finding.more %}<p>and {{ finding.more }} more, in inspection.json</p>{% endif %}
{% endfor %}
{% if kind.more %}<p>and {{ kind.more }} more, in inspection.json</p>{% endif %}
</section>
{% endfor %}
<h2>The cases in numbers</h2>
<div class="charts">
{% for chart in charts %}<p><img src="{{ chart }}" alt="chart"></p>
{% endfor %}</div>
{% endblock %}
"""


def write_inspection_page(
    path: Path, title: str, *, counts: Sequence[Mapping[str, Any]], kinds: Sequence[Mapping], charts: Iterable[Figure]
) -> None:
    """One self-contained page.

    Args:
        path: of the page; written aside, then renamed.
        counts: the rows of the first table, by column.
        kinds: of findings, each with ``title``, ``count``, ``more`` (how many are left out) and ``findings``, each with
            ``text``, ``more`` and ``cases``, each with ``name``, ``note`` and ``picture``: a JPEG, or None.
        charts: what is drawn of all cases.
    """

    def inlined(case: Mapping[str, Any]) -> dict[str, Any]:
        return {**case, "picture": case["picture"] and picture_uri(case["picture"], "jpeg")}

    kinds = [
        {**kind, "findings": [{**each, "cases": list(map(inlined, each["cases"]))} for each in kind["findings"]]}
        for kind in kinds
    ]
    drawn = (picture_uri(png(chart, dpi=110, transparent=True), "png") for chart in charts)
    write_page(path, PAGE, title=title, note=NOTE, style=STYLE, counts=counts, kinds=kinds, charts=drawn)


def case_picture(sample: Sample, position: int | None = None) -> bytes:
    """A JPEG of one slice across D, as stored and true to scale, with its labels; a picture of three colours in these.

    Args:
        position: of the slice; default: where most is labelled, or the middle.
    """
    truth = sample.label_map or sample.reference
    labels = np.asarray(truth.array)[0] if isinstance(truth, LabelMap) else None
    if labels is not None and labels.shape != sample.image.shape:  # the truth waits on another grid
        labels = None
    if position is None:
        position = sample.image.shape[0] // 2
        if labels is not None and labels.any():
            position = int((labels > 0).sum(axis=(1, 2)).argmax())
    plane_CHW = np.asarray(sample.image.array[:, position])
    if len(plane_CHW) == 3 and sample.image.shape[0] == 1:
        colours = np.moveaxis(to_grey(plane_CHW, (0.0, max(1.0, float(plane_CHW.max())))), 0, -1)
    else:
        colours = paint(to_grey(plane_CHW[0]), labels=None if labels is None else labels[position])
    size = np.array(colours.shape[:2]) * sample.image.spacing[1:]
    height, width = np.maximum(1, np.round(SIDE * size / size.max())).astype(int).tolist()
    picture = Image.fromarray((255 * colours).round().astype(np.uint8))
    return jpeg(picture.resize((width, height), Image.Resampling.BILINEAR))


def histograms(values: Mapping[str, np.ndarray], *, columns: int = 4) -> Figure:
    """A histogram of each of these values (N,), nan left out; on a logarithmic axis where they differ widely."""
    rows = -(-len(values) // columns)
    figure = Figure(figsize=(2.9 * columns, 2.1 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axes in panels[len(values) :]:
        axes.set_visible(False)
    for axes, (name, numbers) in zip(panels, values.items(), strict=False):
        numbers = numbers[np.isfinite(numbers)]
        wide = len(numbers) > 0 and numbers.min() > 0 and numbers.max() > 30 * numbers.min()
        bins = np.geomspace(numbers.min(), numbers.max(), 31) if wide else 30
        axes.hist(numbers, bins=bins, color=PALETTE[4])
        axes.set_xscale("log" if wide else "linear")
        _plain(axes, name)
    return figure


def intensities(percentiles: np.ndarray, levels: Sequence[float]) -> Figure:
    """The intensities of all cases (N, levels): their pooled histogram, and each one's range, in order of medians."""
    figure = Figure(figsize=(11.6, 2.8), layout="constrained")
    pooled, each = figure.subplots(1, 2)
    at = {level: percentiles[:, list(levels).index(level)] for level in (5, 25, 50, 75, 95)}
    linear = max(float(np.median(abs(at[50]))), 1e-9)  # beyond it on a logarithmic axis, where scales differ widely
    wide = np.ptp(at[50]) > 100 * np.median(at[75] - at[25])
    low, high = np.percentile(percentiles[:, 1:-1], (1, 99))
    edges = np.linspace(low, high, BINS + 1)
    if wide:
        edges = linear * np.sinh(np.linspace(np.arcsinh(low / linear), np.arcsinh(high / linear), BINS + 1))
    share = np.mean([np.diff(np.interp(edges, row, levels)) for row in percentiles], axis=0)
    pooled.stairs(share, edges, fill=True, color=PALETTE[4])
    _plain(pooled, "intensities, % of the voxels of a case")
    order, place = np.argsort(at[50], kind="stable"), np.arange(len(percentiles))
    for low, high, alpha in ((5, 95, 0.25), (25, 75, 0.45)):
        each.fill_between(place, at[low][order], at[high][order], color=PALETTE[4], alpha=alpha, linewidth=0)
    each.plot(place, at[50][order], color=PALETTE[5], linewidth=1)
    if wide:
        pooled.set_xscale("symlog", linthresh=linear)
        each.set_yscale("symlog", linthresh=linear)
    _plain(each, "median, middle 50 % and 90 % of each case")
    return figure


def class_bars(counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """How many cases of each class each split has."""
    classes = list(dict.fromkeys(name for split in counts.values() for name in split))
    figure = Figure(figsize=(max(4.0, min(11.6, 0.5 * len(classes) * len(counts) + 2)), 2.8), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(counts)
    for number, (split, count) in enumerate(counts.items()):
        heights = [count.get(name, 0) for name in classes]
        colour = PALETTE[(4 + number) % len(PALETTE)]
        axes.bar(np.arange(len(classes)) + (number + 0.5) * width - 0.4, heights, width, label=split, color=colour)
    axes.set_xticks(range(len(classes)), classes, rotation=30, ha="right")
    _plain(axes, "cases of each class")
    axes.legend(fontsize=8, frameon=False, labelcolor=GREY)
    return figure


def _plain(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=9, color=GREY)
    axes.tick_params(labelsize=8, colors=GREY, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(GREY)
    axes.set_facecolor("none")
