"""Pages of cases, a row each: slices, what is true, and what a model said of classes, of voxels or of objects."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from vdt3d.structures import Boxes, LabelMap, Volume
from vdt3d.visualization.grid import PALETTE, Row, draw
from vdt3d.visualization.sheets import legend_of, rgb, slice_rows, to_grey
from vdt3d.visualization.windows import Regions, painted

TRUE, FOUND = PALETTE[2], PALETTE[0]  # colours of boxes
SUREST, LEAST = 3, 0.05  # of the boxes a model found, so many are drawn, of such a score


def predictions_page(
    inputs: Sequence[np.ndarray],
    truth: Sequence[int],
    probabilities: Sequence[np.ndarray],
    classes: Sequence[str],
    *,
    names: Sequence[str] = (),
    slices: int = 6,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    title: str = "",
) -> Figure:
    """Classes: wrong ones are framed and named as such.

    Args:
        inputs: each (C, D, H, W), array or tensor on the CPU; the first channel is drawn.
        truth: class index of each case.
        probabilities: (k,) of each case.
        classes: names of the k classes.
        names: of the cases (never a patient's).
    """
    rows = []
    for array, right, said, name in zip(inputs, truth, probabilities, names or [""] * len(truth), strict=True):
        said = np.asarray(said)
        guess = int(said.argmax())
        lines = [name] * bool(name) + [f"truth: {classes[right]}", f"model: {classes[guess]} ({said[guess]:.0%})"]
        warning = "" if guess == right else "✗ wrong"
        rows += slice_rows(np.asarray(array)[:1], spacing, slices=slices, text="\n".join(lines), warning=warning)
    return draw(rows, title=title)


def labels_page(
    volumes: Sequence[Volume],
    truth: Sequence[LabelMap | None],
    predictions: Sequence[LabelMap],
    regions: Regions,
    *,
    names: Sequence[str] = (),
    slices: int = 6,
    title: str = "",
) -> Figure:
    """Labels of voxels: in each slice what is true filled, what was predicted outlined.

    Args:
        volumes: their first channel is drawn.
        truth, predictions: on the volumes' grids.
        regions: what is drawn, by name: a label, or several.
        names: of the cases (never a patient's).
        slices: how many of each, evenly spaced over those in which something is true or predicted.

    Raises:
        ValueError: a label map is not of its volume's shape.
    """
    rows = []
    for volume, right, said, name in zip(volumes, truth, predictions, names or [""] * len(volumes), strict=True):
        layers = [None if layer is None else np.asarray(layer.array)[0] for layer in (right, said)]
        for layer in layers:
            if layer is not None and layer.shape != volume.shape:
                raise ValueError(f"{name}: labels {layer.shape} do not lie on a volume of {volume.shape} voxels")
        right, said = layers
        shown = [np.isin(layer, label) for layer in layers if layer is not None for label in regions.values()]
        depths = np.flatnonzero(np.any(shown, axis=0).any(axis=(1, 2)))
        depths = np.arange(volume.shape[0]) if len(depths) == 0 else depths
        chosen = sorted({int(depths[(2 * part + 1) * len(depths) // (2 * slices)]) for part in range(slices)})
        grey = to_grey(np.asarray(volume.array)[0])
        pictures = [
            painted(grey[i], regions, PALETTE, filled=None if right is None else right[i], outlined=said[i])
            for i in chosen
        ]
        aspect = volume.spacing[1] / volume.spacing[2]
        rows.append(Row(pictures, aspect, [str(i + 1) for i in chosen], f"{name}\ntruth filled\nmodel outlined"))
    return draw(rows, title=title, legend=legend_of(list(regions), PALETTE))


def boxes_page(
    volumes: Sequence[Volume],
    truth: Sequence[Boxes | None],
    found: Sequence[Boxes],
    scores: Sequence[np.ndarray],
    *,
    names: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """Objects: the slice of the first true box, or else of the surest found, plain and with the boxes in it.

    Args:
        volumes: their first channel is drawn.
        truth, found: on any grid in the volume's space; of those found, the best first, the surest three of a score
            of 0.05 or more are drawn.
        scores: (N,) of those found.
        names: of the cases (never a patient's).
    """
    rows = []
    for volume, right, said, sure, name in zip(
        volumes, truth, found, scores, names or [""] * len(volumes), strict=True
    ):
        sets = [None if boxes is None else boxes.on(volume.affine).corners for boxes in (right, said)]
        sure = [float(score) for score in sure[:SUREST] if score >= LEAST]
        drawn = [corners for corners in (sets[0], sets[1][: len(sure)]) if corners is not None]
        first = next((corners[0] for corners in drawn if len(corners)), None)
        place = volume.shape[0] // 2 if first is None else int((first[0] + first[3]) / 2)
        place = min(max(place, 0), volume.shape[0] - 1)
        grey = to_grey(np.asarray(volume.array)[0])[place]
        plain = np.repeat(grey[..., None], 3, axis=-1)
        picture = plain.copy()
        for corners, colour in ((sets[0], TRUE), (sets[1][: len(sure)], FOUND)):
            for low_d, *low, high_d, bottom, end in [] if corners is None else corners:
                if low_d <= place + 0.5 <= high_d:
                    _frame(picture, (*low, bottom, end), rgb(colour))
        told = ", ".join(f"{score:.2f}" for score in sure) or "nothing"
        known = "unknown" if right is None else len(right)
        captions, aspect = [str(place + 1)] * 2, volume.spacing[1] / volume.spacing[2]
        rows.append(Row([plain, picture], aspect, captions, f"{name}\ntrue boxes: {known}\nmodel: {told}"))
    return draw(rows, title=title, legend={"truth": TRUE, "model": FOUND})


def _frame(picture: np.ndarray, box: Sequence[float], colour: Sequence[float]) -> None:
    """Draw the border of a box, its upper left and lower right corner, into a picture (H, W, 3); a pixel wide."""
    height, width = picture.shape[:2]
    top, left, bottom, right = box
    top, bottom = (min(max(round(end), 0), height - 1) for end in (top, bottom - 1))
    left, right = (min(max(round(end), 0), width - 1) for end in (left, right - 1))
    picture[[top, bottom], left : right + 1] = colour
    picture[top : bottom + 1, [left, right]] = colour
