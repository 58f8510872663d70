"""A case as one picture: the slice on which there is most to see, with what lies on it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from vdt3d.structures import IGNORED
from vdt3d.visualization.grid import PALETTE
from vdt3d.visualization.html import jpeg
from vdt3d.visualization.predictions import FOUND, TRUE
from vdt3d.visualization.report.sprites import slices_of
from vdt3d.visualization.sheets import to_grey
from vdt3d.visualization.windows import painted

STILL = 320  # pixels of the longer side


def still(facts: Mapping[str, Any], files: Mapping[str, Path]) -> bytes:
    """A JPEG of the axial slice of a case on which there is most to see, true to scale; truth filled, prediction
    outlined; found boxes drawn through, of true ones the corners.
    """
    layers = {name: slices_of(file.read_bytes(), facts) for name, file in files.items()}
    boxes = {name: np.array(corners).reshape(-1, 6) for name, corners in facts["boxes"].items()}
    marked = [layer for name, layer in layers.items() if name in ("truth", "prediction")]
    area = sum(((layer > 0) & (layer < IGNORED)).sum((1, 2)) for layer in marked) if marked else np.zeros(1)
    corner = next((corners[0] for corners in boxes.values() if len(corners)), None)
    position = int(np.argmax(area)) if np.any(area) else facts["shape"][0] // 2
    if corner is not None:
        position = min(max(int((corner[0] + corner[3]) / 2), 0), facts["shape"][0] - 1)
    window = tuple(next(iter(facts["presets"].values())))
    values = np.interp(layers["image"][position], facts["levels"], facts["values"])
    drawn = {name: layers[name][position] for name in ("truth", "prediction") if name in layers}
    colours = painted(
        to_grey(values, window), facts["regions"], PALETTE, filled=drawn.get("truth"), outlined=drawn.get("prediction")
    )
    size = np.array(colours.shape[:2]) * facts["spacing"][1:]
    height, width = np.maximum(1, np.round(STILL * size / size.max())).astype(int).tolist()
    picture = Image.fromarray((255 * colours).round().astype(np.uint8)).resize((width, height))
    down, across = height / colours.shape[0], width / colours.shape[1]
    for name, colour in (("truth", TRUE), ("prediction", FOUND)):
        for low, top, left, high, bottom, right in boxes.get(name, ())[:3]:
            if low <= position + 0.5 <= high:
                _frame(
                    picture, (left * across, top * down, right * across, bottom * down), colour, whole=name != "truth"
                )
    return jpeg(picture)


def _frame(picture: Image.Image, box: Sequence[float], colour: str, *, whole: bool) -> None:
    """The border of a box (left, top, right, bottom), or the quarter of its sides next to the corners."""
    left, top, right, bottom = map(round, box)
    share = 0.5 if whole else 0.25
    across, down = share * (right - left), share * (bottom - top)
    for x, to_x in ((left, left + across), (right, right - across)):
        for y, to_y in ((top, top + down), (bottom, bottom - down)):
            ImageDraw.Draw(picture).line([(to_x, y), (x, y), (x, to_y)], fill=colour, width=2)
