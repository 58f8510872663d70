"""What was found in scans: of each finding the slice that shows it best, its box drawn, and a page of all of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from vdt3d.structures import Boxes, Volume
from vdt3d.visualization.grid import PALETTE
from vdt3d.visualization.html import picture_uri, write_page
from vdt3d.visualization.sheets import to_grey, towards_viewer

CT_ABDOMEN = (-160.0, 240.0)  # HU shown black and white
AIR = -500.0  # what lies below is air in Hounsfield units: values of other scans begin at 0 or are centred about it
SIDE = 384  # pixels of the longer side of a picture

STYLE = """.findings { display: grid; gap: 1.25rem; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); }
figure img { background: #000; display: block; max-width: 100%; }
"""
PAGE = """{% extends "page.html.j2" %}
{% block content %}
<p>Slices as a radiologist hangs them: the patient's right on the left, front up. Sizes: along
w, h and d, the axes of the scan as stored. Centres: millimetres to the patient's right, front and head.</p>
{% for scan in scans %}
<section>
<h2>{{ scan.scan }}</h2>
{% if not scan.findings %}<p>Nothing was found.</p>{% endif %}
<div class="findings">
{% for finding in scan.findings %}
{% set depth, height, width = finding.size_mm_dhw %}
<figure>
<img src="{{ finding.picture }}" alt="{{ scan.scan }}, finding {{ finding.rank }}: a slice with a box about it">
<figcaption><strong>{{ finding.rank }}. {{ finding.label }}, score {{ "%.3f" % finding.score }}</strong><br>
slice {{ finding.slice + 1 }} of {{ scan.shape_dhw["dhw".index(scan.slices_along)] }}<br>
{{ "%.0f x %.0f x %.0f mm" % (width, height, depth) }}, at {{ "%.0f, %.0f, %.0f mm" % tuple(finding.centre_mm_xyz) }}
</figcaption>
</figure>
{% endfor %}
</div>
</section>
{% endfor %}
{% endblock %}
"""


def finding_pictures(
    volume: Volume,
    boxes: Boxes,
    slices: Sequence[int],
    *,
    axis: int = 0,
    window: tuple[float, float] | None = None,
) -> Iterator[Image.Image]:
    """Of each finding its slice in grey, true to scale, right on the left and front up, and the box in colour.

    Args:
        volume: its first channel is drawn.
        boxes: on the volume's grid.
        slices: (N,) the position of each one's slice.
        axis: 0, 1 or 2 for D, H, W: along which slices follow.
        window: values shown black and white. Default: those for the abdomen in CT, which is known by its air; else the
            0.5th and 99.5th percentile of each slice.
    """
    array = np.asarray(volume.array[:1])
    if window is None and array.min() < AIR:
        window = CT_ABDOMEN
    for place, position in enumerate(slices):
        affine = volume.affine.copy()
        affine[:, 3] += position * affine[:, axis]
        plane = towards_viewer(Volume(array.take([position], 1 + axis), affine))
        _, *down_across = plane.spacing
        height, width = (step * count for step, count in zip(down_across, plane.shape[1:], strict=True))
        scale = SIDE / max(height, width)
        size = max(1, round(scale * width)), max(1, round(scale * height))
        grey = (255 * to_grey(plane.array[0, 0], window)).round().astype(np.uint8)
        picture = Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR).convert("RGB")
        _, top, left, _, bottom, right = boxes.chosen([place]).on(plane.affine).corners[0]
        across, down = size[0] / plane.shape[2], size[1] / plane.shape[1]
        edges = (left * across - 2, top * down - 2, right * across + 1, bottom * down + 1)  # about it, not over it
        ImageDraw.Draw(picture).rectangle([round(edge) for edge in edges], outline=PALETTE[0], width=2)
        yield picture


def write_findings_page(path: Path, scans: Iterable[Mapping[str, Any]], *, folder: Path, note: str) -> None:
    """One self-contained page, read and written scan by scan.

    Args:
        path: of the page; written aside, then renamed.
        scans: what ``vdt3d.inference.scan_report`` tells of each, where every finding has a ``picture``, the path of a
            JPEG.
        folder: what these paths start from.
        note: what is said above all else.
    """

    def inlined(scan: Mapping[str, Any]) -> dict[str, Any]:
        pictures = [picture_uri((folder / finding["picture"]).read_bytes(), "jpeg") for finding in scan["findings"]]
        findings = [finding | {"picture": uri} for finding, uri in zip(scan["findings"], pictures, strict=True)]
        return {**scan, "findings": findings}

    write_page(path, PAGE, title="Findings", note=note, style=STYLE, scans=map(inlined, scans))
