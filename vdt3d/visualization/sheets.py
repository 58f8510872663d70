"""Slice sheets: volumes as rows of slices, labels and heat painted on. Arrays (C, D, H, W), spacing (z, y, x), mm."""

from collections.abc import Sequence

import nibabel as nib
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from scipy.ndimage import generate_binary_structure, maximum_filter, minimum_filter

from vdt3d.structures import IGNORED, LabelMap, Volume
from vdt3d.visualization.grid import PALETTE, Row, Scale, draw

Colour = str | tuple[int, int, int]
HEAT = colormaps["inferno"]
HUNG = "The patient's right is on the left, in sagittal slices the front; slices count from the feet, front and right."
PLANES = {"axial": 0, "coronal": 1, "sagittal": 2}  # the axis of (D, H, W) each plane is cut across


def volume_sheet(
    volume: Volume,
    label_map: LabelMap | None = None,
    heat: Volume | None = None,
    *,
    hottest: float = 1.0,
    measure: str = "",
    classes: Sequence[str] = (),
    palette: Sequence[Colour] = PALETTE,
    title: str = "",
    note: str = "",
    **options,
) -> Figure:
    """A scan as a radiologist hangs it: the patient's right on the left, front or head up, true to scale.

    Args:
        heat: on the volume's grid (where a model looked); what is not above 0 is not painted.
        hottest: the value of the heat from which on it has the last colour of its scale.
        measure: what the heat is, in words.
        classes: names of the labels 1, 2, ... for the legend.
        palette: their colours, (r, g, b) in 0..255 or names of matplotlib's; the first ones again where they run out.
        note: said below all, before how the scan is hung.
        options: planes, slices and window of ``slice_rows``.

    Raises:
        ValueError: an unknown plane, or an overlay of another shape than the volume's.
    """
    volume = towards_viewer(volume)
    labels, heat = (None if layer is None else towards_viewer(layer).array[0] for layer in (label_map, heat))
    shown = None if heat is None else (heat / hottest).clip(0, 1)
    rows = slice_rows(volume.array, volume.spacing, labels=labels, heat=shown, palette=palette, **options)
    scale = None if heat is None else heat_scale(hottest)
    note = " ".join(filter(None, (measure and f"Painted on: {measure}.", note, HUNG)))
    return draw(rows, title=title, legend=legend_of(classes, palette), scale=scale, note=note)


def heat_scale(hottest: float) -> Scale:
    """The colours of heat as they are over a grey in the middle."""
    colours = paint(np.full((1, 256), 0.5), heat=np.linspace(0, 1, 256)[None])[0]
    return Scale(colours, "0", f"{hottest:.3g} or more")


def input_sheet(
    inputs: Sequence[np.ndarray],
    texts: Sequence[str] = (),
    *,
    labels: Sequence[np.ndarray | None] = (),
    classes: Sequence[str] = (),
    palette: Sequence[Colour] = PALETTE,
    slices: int = 6,
    title: str = "",
) -> Figure:
    """What a model is really fed, one row per sample and channel, in the order of the array's own axes.

    A photograph whose colours have become slices (1, 3, H, W) is shown in those colours first.

    Args:
        inputs: each (C, D, H, W), array or tensor on the CPU.
        texts: what is written beside each sample.
        labels: what is painted on each sample, (D, H, W) integers or None.
        classes, palette: as ``volume_sheet``'s.
    """
    rows = []
    texts, labels = texts or [""] * len(inputs), labels or [None] * len(inputs)
    for array, text, painted in zip(inputs, texts, labels, strict=True):
        painted = None if painted is None else np.asarray(painted)
        photograph = painted is None and tuple(array.shape[:2]) == (1, 3)
        options = dict(labels=painted, palette=palette, colours=photograph)
        rows += slice_rows(np.asarray(array), slices=slices, text=text, **options)
    return draw(rows, title=title, legend=legend_of(classes, palette))


def slice_rows(
    array: np.ndarray,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    *,
    labels: np.ndarray | None = None,
    heat: np.ndarray | None = None,
    palette: Sequence[Colour] = PALETTE,
    planes: Sequence[str] = ("axial",),
    slices: int = 8,
    window: tuple[float, float] | None = None,
    colours: bool = False,
    text: str = "",
    warning: str = "",
) -> list[Row]:
    """Rows of evenly spaced slices: one for every channel and plane, cut along the array's own axes.

    Args:
        array: (C, D, H, W).
        labels: (D, H, W) integers; 0 is left clear.
        heat: (D, H, W) in 0..1.
        palette: as ``volume_sheet``'s.
        planes: of "axial", "coronal", "sagittal".
        slices: at most so many in a row, of the stretch that is not dark; with heat, that is not cold.
        window: values shown black and white. Default: the 0.5th and 99.5th percentile.
        colours: put the three slices, read as red, green and blue, before them.
        text, warning: what is written beside each row.

    Raises:
        ValueError: a wrong shape or an unknown plane.
    """
    overlays = {name: layer for name, layer in (("labels", labels), ("heat", heat)) if layer is not None}
    _check(array, overlays, planes)
    rows = []
    for channel in to_grey(array, window):
        for plane in planes:
            axis = PLANES[plane]
            indices = _chosen_slices(channel if heat is None else heat, axis, slices)
            pictures = [
                paint(
                    _cut(channel, plane, i),
                    palette=palette,
                    **{name: _cut(layer, plane, i) for name, layer in overlays.items()},
                )
                for i in indices
            ]
            captions = [str(i + 1) for i in indices]
            if colours:
                pictures, captions = [np.moveaxis(channel, 0, -1), *pictures], ["as colours", *captions]
            down, across = (step for other, step in enumerate(spacing) if other != axis)
            rows.append(Row(pictures, down / across, captions, text, warning))
    return rows


def paint(
    grey: np.ndarray,
    labels: np.ndarray | None = None,
    heat: np.ndarray | None = None,
    *,
    palette: Sequence[Colour] = PALETTE,
) -> np.ndarray:
    """A grey picture (H, W) in 0..1 with heat laid over it and labels tinted and outlined: (H, W, 3).

    What is ``IGNORED`` is outlined in white.
    """
    picture = np.repeat(grey[..., None], 3, axis=-1)
    if heat is not None:
        picture = blend(picture, HEAT(heat)[..., :3], 0.6 * heat)
    if labels is not None:
        cross = generate_binary_structure(2, 1)
        edge = maximum_filter(labels, footprint=cross) != minimum_filter(labels, footprint=cross)
        colours = np.array([rgb(colour) for colour in palette])[(labels.astype(int) - 1) % len(palette)]
        colours[labels == IGNORED] = 1
        picture = blend(picture, colours, (labels > 0) * np.where(edge, 1.0, 0.25))
    return picture


def to_grey(array: np.ndarray, window: tuple[float, float] | None = None) -> np.ndarray:
    """Values as 0 (black) to 1 (white) between the two ends of the window; a constant array is black."""
    low, high = window or np.percentile(array, (0.5, 99.5))
    if low == high:  # nearly all voxels are equal, as in a mask
        low, high = array.min(), array.max()
    return ((array.astype(float) - low) / max(high - low, np.finfo(float).tiny)).clip(0, 1)


def legend_of(classes: Sequence[str], palette: Sequence[Colour]) -> dict[str, tuple[float, float, float]]:
    """The colour of each name, the first ones again where they run out."""
    return {name: rgb(palette[index % len(palette)]) for index, name in enumerate(classes)}


def rgb(colour: Colour) -> tuple[float, float, float]:
    """A colour as red, green and blue in 0..1."""
    return to_rgb(colour) if isinstance(colour, str) else tuple(part / 255 for part in colour)


def _chosen_slices(grey: np.ndarray, axis: int, wanted: int) -> list[int]:
    """All slices, or the middles of ``wanted`` equal parts of the stretch in which there is something to see."""
    if grey.shape[axis] <= wanted:
        return list(range(grey.shape[axis]))
    brightness = grey.mean(tuple(other for other in range(3) if other != axis))
    seen = np.flatnonzero(brightness >= 0.1 * brightness.max())
    first, count = seen[0], seen[-1] + 1 - seen[0]
    return sorted({int(first + (part + 0.5) * count / wanted) for part in range(wanted)})


def towards_viewer(volume: Volume) -> Volume:
    """Turn and flip the axes so that D runs to superior, H to posterior and W to the patient's left."""
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(volume.affine), nib.orientations.axcodes2ornt("SPL")
    )
    array = np.stack([nib.orientations.apply_orientation(channel, turn) for channel in volume.array])
    return volume.replace(array=array, affine=volume.affine @ nib.orientations.inv_ornt_aff(turn, volume.shape))


def _cut(array: np.ndarray, plane: str, index: int) -> np.ndarray:
    picture = array.take(index, axis=PLANES[plane])
    return picture if plane == "axial" else picture[::-1]  # D grows towards the head, which is drawn on top


def blend(below: np.ndarray, above: np.ndarray | Sequence[float], alpha: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3) with others over them, as opaque as ``alpha`` (H, W) in 0..1 says."""
    return below + alpha[..., None] * (above - below)


def _check(array: np.ndarray, overlays: dict[str, np.ndarray], planes: Sequence[str]) -> None:
    if array.ndim != 4:
        raise ValueError(f"a slice sheet wants an array (C, D, H, W), got shape {array.shape}")
    for name, layer in overlays.items():
        if layer.shape != array.shape[1:]:
            raise ValueError(f"{name} of shape {layer.shape} do not lie on a volume of shape {array.shape[1:]}")
    unknown = set(planes) - set(PLANES)
    if unknown:
        raise ValueError(f"unknown plane {', '.join(sorted(unknown))}; known are {', '.join(PLANES)}")
