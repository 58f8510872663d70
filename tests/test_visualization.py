"""Pictures, checked by the pixel: a known voxel appears where and as large as it should, coloured as it should."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from vdt3d.structures import LabelMap, Volume, affine_from_spacing
from vdt3d.visualization import (
    input_sheet,
    learning_curves,
    predictions_page,
    read_scalars,
    save,
    slice_rows,
    volume_sheet,
)
from vdt3d.visualization.grid import PALETTE, WARNING
from vdt3d.visualization.sheets import paint, to_grey


@pytest.fixture(autouse=True)
def no_global_figures():
    yield
    assert plt.get_fignums() == []


def one_voxel(shape, position) -> np.ndarray:
    array = np.zeros((1, *shape), dtype=np.float32)
    array[(0, *position)] = 1
    return array


def pixels(figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3] / 255


def bright(picture) -> list[tuple[int, int]]:
    return [(int(row), int(column)) for row, column in np.argwhere(picture[..., 0] > 0.5)]


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def test_a_voxel_appears_in_each_plane():
    array = one_voxel((4, 5, 6), (1, 2, 3))
    axial, coronal, sagittal = slice_rows(array, planes=("axial", "coronal", "sagittal"))
    assert [len(row.pictures) for row in (axial, coronal, sagittal)] == [4, 5, 6]
    assert bright(axial.pictures[1]) == [(2, 3)] and axial.captions[1] == "2"
    assert bright(coronal.pictures[2]) == [(2, 3)]  # of 4 rows the second from below: the head is on top
    assert bright(sagittal.pictures[3]) == [(2, 2)]


def test_pixels_are_as_tall_as_the_spacing_says():
    rows = slice_rows(np.zeros((1, 4, 5, 6)), (5.0, 2.0, 1.0), planes=("axial", "coronal", "sagittal"))
    assert [row.aspect for row in rows] == [2 / 1, 5 / 1, 5 / 2]


def test_a_figure_is_true_to_scale():
    array = np.ones((1, 1, 10, 10), dtype=np.float32)
    array[..., 0, 0] = 0
    figure = volume_sheet(Volume(array, affine_from_spacing((1.0, 1.0, 2.0))))
    (axes,) = figure.axes
    pixels(figure)
    box = axes.get_window_extent()
    assert box.width / box.height == pytest.approx(2)  # 10 pixels of 2 mm over 10 of 1 mm


def test_slices_are_the_middles_of_equal_parts():
    (row,) = slice_rows(np.ones((1, 8, 2, 2)), slices=4)
    assert row.captions == ["2", "4", "6", "8"]


def test_empty_ends_are_left_out_when_slices_are_chosen():
    array = np.zeros((1, 20, 2, 2))
    array[:, 10:14] = 1
    (row,) = slice_rows(array, slices=2)
    assert row.captions == ["12", "14"]  # the middles of 11-12 and 13-14


def test_a_scan_hangs_with_its_right_on_the_left_and_its_front_up():
    # Default axes point up, forward, right: the last voxel is the most superior, anterior and right one.
    figure = volume_sheet(Volume(one_voxel((2, 3, 4), (1, 2, 3))))
    low, high = (axes.images[0].get_array() for axes in figure.axes)
    assert bright(low) == [] and bright(high) == [(0, 0)]


def test_a_scan_stored_by_sagittal_slices_hangs_the_same():
    # Array axes point right, up, forward.
    affine = np.eye(4)[:, [0, 2, 1, 3]]
    figure = volume_sheet(Volume(one_voxel((4, 2, 3), (3, 1, 2)), affine))
    assert [bright(axes.images[0].get_array()) for axes in figure.axes] == [[], [(0, 0)]]


def test_labels_are_tinted_inside_and_outlined():
    labels = np.zeros((7, 7), dtype=np.uint8)
    labels[1:6, 1:6] = 2
    picture = paint(np.zeros((7, 7)), labels=labels)
    colour = np.array(to_rgb(PALETTE[1]))
    np.testing.assert_allclose(picture[1, 1], colour)
    np.testing.assert_allclose(picture[3, 3], colour / 4)
    np.testing.assert_allclose(picture[0, 0], 0)


def test_labels_lie_where_the_volume_lies():
    array = np.zeros((1, 2, 5, 4))
    labels = np.zeros((1, 2, 5, 4), dtype=np.uint8)
    labels[0, 1, 4, 0] = 1  # superior, anterior, left
    figure = volume_sheet(Volume(array), LabelMap(labels), classes=["lesion"])
    picture = figure.axes[1].images[0].get_array()
    np.testing.assert_allclose(picture[0, 3], to_rgb(PALETTE[0]))
    assert figure.legends[0].get_texts()[0].get_text() == "lesion"


def test_heat_hides_nothing_where_it_is_zero():
    grey = np.full((2, 2), 0.5)
    heat = np.array([[0.0, 1.0], [0.0, 0.0]])
    picture = paint(grey, heat=heat)
    np.testing.assert_allclose(picture[1], 0.5)
    assert picture[0, 1, 0] > picture[0, 1, 2] + 0.1  # the hot end of the scale is yellowish


def test_heat_has_a_scale_and_a_sheet_says_how_it_hangs():
    volume = Volume(np.full((1, 2, 4, 4), 0.5))
    heat = Volume(np.full((1, 2, 4, 4), 3.0))
    heat.array[0, 1, 0, 0], heat.array[0, 0, 0, 0] = 12, -4  # the first cells of the file hang at the lower right
    sheet = volume_sheet(volume, heat=heat, hottest=6, measure="log odds lost", note="For research only.")
    low, high, scale = (axes.images[0].get_array() for axes in sheet.axes)
    said = " ".join(text.get_text() for text in reversed(sheet.texts))
    assert "6 or more" in said and "Painted on: log odds lost. For research only. The patient's right" in said
    assert scale.shape[:2] == (1, 256)
    # Where nothing speaks for it the scan is as it was (constant, so black); beyond the scale it has the last colour.
    np.testing.assert_allclose(low[3, 3], 0)
    np.testing.assert_allclose(high[3, 3], paint(np.zeros((1, 1)), heat=np.ones((1, 1)))[0, 0])
    np.testing.assert_allclose(scale[0, [0, 255]], paint(np.full((1, 2), 0.5), heat=np.array([[0.0, 1.0]]))[0])
    plain = volume_sheet(volume)
    assert len(plain.axes) == 2 and not any("Painted" in text.get_text() for text in plain.texts)


def test_what_stands_below_a_narrow_sheet_does_not_overlap():
    volume, words = Volume(np.zeros((1, 1, 4, 4))), "steepness of the log odds, up or down"
    figure = volume_sheet(volume, LabelMap(np.zeros((1, 1, 4, 4), np.uint8)), volume, classes=["liver"], measure=words)
    pixels(figure)
    picture, scale, legend, *lines = (
        part.get_window_extent() for part in (*figure.axes, figure.legends[0], *figure.texts)
    )
    ends, below = lines[:2], lines[2:]
    assert min(line.x0 for line in lines) >= 0 and max(line.x1 for line in lines) <= figure.bbox.width
    assert len(below) >= 3 and min(line.y0 for line in below) >= 0
    assert max(line.y1 for line in below) < min(end.y0 for end in ends)
    assert ends[0].x1 < scale.x0 < scale.x1 < ends[1].x0
    assert max(end.y1 for end in ends) < legend.y0 + 1 and legend.y1 < picture.y0


def test_window_maps_its_ends_to_black_and_white():
    np.testing.assert_allclose(to_grey(np.array([-200.0, -100.0, 0.0, 100.0, 999.0]), (-100, 100)), [0, 0, 0.5, 1, 1])
    np.testing.assert_array_equal(to_grey(np.full(3, 7.0)), 0)
    assert to_grey(one_voxel((9, 9, 9), (4, 4, 4))).max() == 1  # a mask so small that both percentiles are 0


def test_a_photograph_is_shown_in_colour_and_as_slices():
    red = torch.zeros(1, 3, 4, 4)
    red[:, 0] = 1
    figure = input_sheet([red, torch.zeros(1, 2, 4, 4)], ["class 0", "class 1"])
    pictures = [axes.images[0].get_array()[0, 0].tolist() for axes in figure.axes]
    assert pictures[:4] == [[1, 0, 0], [1, 1, 1], [0, 0, 0], [0, 0, 0]]
    assert len(pictures) == 4 + 2
    assert texts(figure) == ["class 0", "class 1"]


def test_labels_of_a_sample_are_painted_on_every_channel():
    labels = np.zeros((1, 4, 4), dtype=np.uint8)
    labels[0, 3, 3] = 2
    figure = input_sheet([torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)], labels=[labels, None], classes=["a", "b"])
    corners = [axes.images[0].get_array()[3, 3] for axes in figure.axes]
    np.testing.assert_allclose(corners, [to_rgb(PALETTE[1])] * 2 + [(0, 0, 0)] * 2)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_a_palette_of_the_data_set_colours_labels_and_legend_alike():
    colours = [(0, 0, 255), (51, 102, 153)]
    labels = np.array([[[0, 2, 2], [2, 255, 255]]], dtype=np.uint8)
    figure = input_sheet([np.zeros((1, 1, 2, 3))], labels=[labels], classes=["one", "two"], palette=colours)
    picture = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(picture[0, 1], (0.2, 0.4, 0.6))  # of 255
    np.testing.assert_allclose(picture[1, 1], 1)  # what nobody knows is white
    np.testing.assert_allclose(
        [patch.get_facecolor()[:3] for patch in figure.legends[0].get_patches()][1], picture[0, 1]
    )
    assert figure.axes[0].images[0].get_array()[0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("slices", [1, 6])
def test_a_legend_of_many_classes_stays_below_the_pictures_and_inside_the_figure(slices):
    classes = [f"a rather long name {number}" for number in range(13)]
    figure = input_sheet(
        [np.ones((1, 6, 4, 4))], labels=[np.zeros((6, 4, 4), dtype=int)], classes=classes, slices=slices
    )
    pixels(figure)
    legend, whole = figure.legends[0].get_window_extent(), figure.bbox
    assert legend.x0 >= whole.x0 and legend.x1 <= whole.x1 and legend.y0 >= whole.y0
    assert legend.y1 <= min(axes.get_window_extent().y0 for axes in figure.axes)
    assert len(figure.legends[0].get_texts()) == 13


def test_wrong_predictions_are_framed_and_named():
    figure = predictions_page(
        np.zeros((2, 1, 2, 4, 4)), [0, 1], [[0.75, 0.25], [0.9, 0.1]], ["benign", "malignant"], names=["a", "b"]
    )
    assert texts(figure) == [
        *("a", "truth: benign", "model: benign (75%)"),
        *("b", "truth: malignant", "model: benign (90%)", "✗ wrong"),
    ]
    image = pixels(figure)
    marked = np.argwhere(np.abs(image - to_rgb(WARNING)).max(-1) < 0.02)
    assert len(marked) and marked[:, 0].min() > len(image) / 2  # in the lower of the two rows only


def test_pictures_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(C, D, H, W\), got shape \(3, 4, 5\)"):
        slice_rows(np.zeros((3, 4, 5)))
    with pytest.raises(ValueError, match=r"labels of shape \(4, 5\)"):
        slice_rows(np.zeros((1, 3, 4, 5)), labels=np.zeros((4, 5), dtype=int))
    with pytest.raises(ValueError, match="unknown plane oblique; known are axial"):
        slice_rows(np.zeros((1, 3, 4, 5)), planes=("oblique",))


# ---- curves ----------------------------------------------------------------------------------------------------------


def write_run(folder, name, lines):
    path = folder / name / "vis_data" / "scalars.json"
    path.parent.mkdir(parents=True)
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))


def test_a_resumed_run_is_one_curve_and_the_newer_value_counts(tmp_path):
    write_run(tmp_path, "20250101_000000", [{"loss": 3.0, "step": 1}, {"loss": 9.0, "step": 2}])
    write_run(tmp_path, "20250102_000000", [{"loss": 2.0, "step": 2}, '{"loss": 1.0, "st'])  # killed while it wrote
    write_run(tmp_path, "20250103_000000", [{"auc": 1.0, "step": 0}])  # validated, not trained
    table = read_scalars(tmp_path)
    assert table.to_dict("list") == {"name": ["loss"] * 2, "step": [1, 2], "value": [3.0, 2.0]}


def test_curves_of_two_runs_differ_in_more_than_colour(tmp_path):
    for name, auc in (("ours", 0.9), ("scratch", 0.7)):
        write_run(tmp_path / name, "1", [{"loss": 1.0, "step": 1}, {"auc": auc, "step": 1}, {"auc": 1.0, "step": 2}])
    figure = learning_curves({name: tmp_path / name for name in ("ours", "scratch")}, scores=["auc"])
    loss, auc = figure.axes
    assert [line.get_ydata().tolist() for line in auc.lines] == [[0.9, 1.0], [0.7, 1.0]]
    assert len({line.get_linestyle() for line in auc.lines}) == 2
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["ours", "scratch"]


def test_a_run_without_what_is_asked_for_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no scalars\.json"):
        read_scalars(tmp_path)
    write_run(tmp_path, "1", [{"loss": 1.0, "step": 1}])
    with pytest.raises(ValueError, match="no 'auc' in it; there are loss"):
        learning_curves({"run": tmp_path}, scores=["auc"])
    write_run(tmp_path, "2", ["<html>\n", {"loss": 1.0, "step": 1}])
    with pytest.raises(ValueError, match=r"scalars\.json:1: not a line of JSON"):
        read_scalars(tmp_path)


def test_saving_makes_the_folder_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "sheet.png"
    save(volume_sheet(Volume(np.ones((1, 1, 4, 4)))), path, dpi=50)
    assert path.read_bytes().startswith(b"\x89PNG") and list(path.parent.iterdir()) == [path]
