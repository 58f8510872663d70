"""A page of cases: slices, truth, what the model said and how surely; wrong ones framed and named as such."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from vdt3d.visualization.grid import draw
from vdt3d.visualization.sheets import slice_rows


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
    """One row per case.

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
