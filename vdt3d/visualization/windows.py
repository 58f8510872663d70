"""Windows of slices as a 2.5D network sees them, and a case as a grid of slices; regions may overlap.

Arrays (C, D, H, W); n is the depth of a window.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from scipy.ndimage import binary_erosion

from vdt3d.structures import IGNORED, LabelMap, Volume
from vdt3d.visualization.grid import PALETTE, Row, draw
from vdt3d.visualization.sheets import Colour, blend, legend_of, rgb, to_grey

Regions = Mapping[str, int | Sequence[int]]
MOST = 40  # slices of a montage, unless it is told
HOW = {"truth": "filled", "prediction": "outlined"}


def window_page(
    windows: Sequence[np.ndarray],
    texts: Sequence[str] = (),
    *,
    labels: Sequence[np.ndarray | None] = (),
    answered: Sequence[int] | None = None,
    regions: Regions | None = None,
    palette: Sequence[Colour] = PALETTE,
    title: str = "",
) -> Figure:
    """A row per window and channel: the window as a picture in colour, and plain the slices it is to be labelled in.

    The first, the middle and the last slice are red, green and blue: grey is what they agree about.

    Args:
        windows: each (C, n, H, W), array or tensor on the CPU.
        texts: what is written beside each.
        labels: the truth of each, (n, H, W) integers or None: outlined in the plain slices.
        answered: which slices are labelled (``SliceWindow.answered``). Default: the middle one.
        regions: what is outlined, by name: a label, or several. Default: every label but 0 and 255.
        palette: their colours, as ``volume_sheet``'s.

    Raises:
        ValueError: a window has not four axes, or labels are not of its shape.
    """
    texts, labels = texts or [""] * len(windows), labels or [None] * len(windows)
    labels = [None if layer is None else np.asarray(layer) for layer in labels]
    regions = regions or _labels_in(labels)
    rows = []
    for array, text, layer in zip(map(np.asarray, windows), texts, labels, strict=True):
        if array.ndim != 4 or (layer is not None and layer.shape != array.shape[1:]):
            raise ValueError(
                f"windows are (C, n, H, W) and their labels (n, H, W); got {array.shape} and "
                f"{None if layer is None else layer.shape}"
            )
        count = array.shape[1]
        places = [count // 2] if answered is None else list(answered)
        for channel in array:
            grey = to_grey(channel)
            plain = [painted(grey[place], regions, palette, outlined=_at(layer, place)) for place in places]
            colours = np.stack([grey[0], grey[count // 2], grey[-1]], axis=-1)
            captions = ["as colours", *(f"{place + 1} of {count}" for place in places)]
            rows.append(Row([colours, *plain], captions=captions, text=text))
    shown = regions if any(layer is not None for layer in labels) else {}
    return draw(rows, title=title, legend=legend_of(list(shown), palette))


def montage(
    volume: Volume,
    label_map: LabelMap | None = None,
    prediction: LabelMap | None = None,
    *,
    every: int | None = None,
    regions: Regions | None = None,
    palette: Sequence[Colour] = PALETTE,
    window: tuple[float, float] | None = None,
    columns: int = 8,
    title: str = "",
) -> Figure:
    """The slices of a case one after the other, as stored: what is true filled, what was predicted outlined.

    Args:
        volume: its first channel is drawn.
        label_map: the truth.
        prediction: what a model said.
        every: one slice of so many is drawn. Default: as many as it takes for 40 slices at most.
        regions, palette: as ``window_page``'s; where regions overlap, one is drawn over the other.
        window: values shown black and white. Default: the 0.5th and 99.5th percentile.
        columns: slices side by side.

    Raises:
        ValueError: a label map is not of the volume's shape, or has several channels.
    """
    layers = {"truth": label_map, "prediction": prediction}
    for name, layer in layers.items():
        if layer is not None and (layer.channels != 1 or layer.shape != volume.shape):
            raise ValueError(f"the {name}, {layer.array.shape}, does not lie on a volume of {volume.shape} voxels")
    truth, guess = (None if layer is None else np.asarray(layer.array)[0] for layer in layers.values())
    regions = regions or _labels_in([truth, guess])
    chosen = range(0, volume.shape[0], every or -(-volume.shape[0] // MOST))
    grey = dict(zip(chosen, to_grey(np.asarray(volume.array)[0][chosen], window), strict=True))
    pictures = [painted(grey[i], regions, palette, filled=_at(truth, i), outlined=_at(guess, i)) for i in chosen]
    aspect = volume.spacing[1] / volume.spacing[2]
    rows = [
        Row(pictures[first : first + columns], aspect, [str(i + 1) for i in chosen[first : first + columns]])
        for first in range(0, len(chosen), columns)
    ]
    told = [f"{name} {how}" for name, how in HOW.items() if layers[name] is not None]
    legend = legend_of(list(regions), palette) if told else {}
    return draw(rows, title=": ".join(filter(None, (title, ", ".join(told)))), legend=legend)


def painted(
    grey: np.ndarray,
    regions: Regions,
    palette: Sequence[Colour],
    *,
    filled: np.ndarray | None = None,
    outlined: np.ndarray | None = None,
) -> np.ndarray:
    """A grey picture (H, W) in 0..1 with the regions of two label maps (H, W) over it: (H, W, 3)."""
    picture = np.repeat(grey[..., None], 3, axis=-1)
    colours = [rgb(palette[index % len(palette)]) for index in range(len(regions))]
    for labels, solid in ((filled, False), (outlined, True)):
        for members, colour in zip(regions.values(), colours, strict=True):
            if labels is not None:
                mask = np.isin(labels, members)
                shade = mask & ~binary_erosion(mask, border_value=1) if solid else 0.4 * mask
                picture = blend(picture, colour, shade)
    return picture


def _at(labels: np.ndarray | None, place: int) -> np.ndarray | None:
    return None if labels is None else labels[place]


def _labels_in(layers: Iterable[np.ndarray | None]) -> Regions:
    """Every label there is as a region of its own, but the background and what nobody knows."""
    found = set().union(*(np.unique(layer).tolist() for layer in layers if layer is not None)) - {0, IGNORED}
    return {str(label): label for label in sorted(found)}
