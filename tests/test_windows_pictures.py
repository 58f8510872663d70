"""Windows and whole cases as pictures, checked by the pixel; regions that overlap; the command that draws windows."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from vdt3d.cli import main
from vdt3d.structures import LabelMap, Volume, affine_from_spacing
from vdt3d.visualization import montage, window_page
from vdt3d.visualization.grid import PALETTE

ROOT = Path(__file__).resolve().parents[1]
FIRST, SECOND = (np.array(to_rgb(colour)) for colour in PALETTE[:2])


@pytest.fixture(autouse=True)
def no_global_figures():
    yield
    assert plt.get_fignums() == []


def pictures(figure) -> list[np.ndarray]:
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes]


def captions(figure) -> list[str]:
    return [axes.texts[0].get_text() for axes in figure.axes]


def names(figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


# ---- windows ---------------------------------------------------------------------------------------------------------


def five() -> np.ndarray:
    """A window of five slices of 4 x 4 pixels, bright in columns 0, 3, 1, 3, 2; all but the second also at (3, 3)."""
    window = np.zeros((1, 5, 4, 4), dtype=np.float32)
    for place, column in enumerate((0, 3, 1, 3, 2)):
        window[0, place, 0, column] = 1
        window[0, place, 3, 3] = place != 1
    return window


def test_first_middle_and_last_slice_are_red_green_and_blue():
    colours, plain = pictures(window_page([torch.from_numpy(five())]))
    assert colours[0, :3].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert colours[0, 3].tolist() == [0, 0, 0]  # bright in slices in between alone
    assert colours[3, 3].tolist() == [1, 1, 1]  # what all three agree about
    assert plain[0].tolist() == [[0, 0, 0], [1, 1, 1], [0, 0, 0], [0, 0, 0]]


def test_windows_of_one_slice_are_grey_and_channels_have_rows():
    window = np.stack([five()[0, :1], five()[0, 4:]])
    figure = window_page([window], ["case, slice 7"])
    first, _, second, _ = pictures(figure)
    assert first[0].tolist() == [[1, 1, 1], *[[0, 0, 0]] * 3]
    assert second[0, 2].tolist() == [1, 1, 1]
    assert [text.get_text() for text in figure.texts] == ["case, slice 7"] * 2


def test_the_slices_that_are_answered_stand_beside():
    figure = window_page([five()], answered=range(5))
    assert captions(figure) == ["as colours", *(f"{place} of 5" for place in range(1, 6))]
    assert [picture[0, :, 0].argmax() for picture in pictures(figure)[1:]] == [0, 3, 1, 3, 2]
    assert captions(window_page([five()], answered=[0]))[1:] == ["1 of 5"]
    assert captions(window_page([five()[:, :4]]))[1:] == ["3 of 4"]


def test_the_truth_is_outlined_region_by_region():
    labels = np.zeros((3, 7, 7), np.uint8)
    labels[1, 1:6, 1:4], labels[1, 1:6, 3:6] = 1, 2
    labels[1, 1:6, 3] = 3  # both
    figure = window_page([np.zeros((1, 3, 7, 7))], labels=[labels], regions={"a": (1, 3), "b": (2, 3)})
    colours, plain = pictures(figure)
    assert not colours.any()
    np.testing.assert_allclose(plain[3], [[0] * 3, FIRST, [0] * 3, SECOND, [0] * 3, SECOND, [0] * 3])  # b over a's edge
    np.testing.assert_allclose(plain[1, 1:3], [FIRST] * 2)
    assert names(figure) == ["a", "b"]


def test_without_names_every_label_is_a_region():
    labels = np.array([[[0, 5, 5], [2, 0, 255]]], np.uint8)
    figure = window_page([np.zeros((1, 1, 2, 3))] * 2, labels=[labels, None])
    np.testing.assert_allclose(pictures(figure)[1], [[[0] * 3, SECOND, SECOND], [FIRST, [0] * 3, [0] * 3]])
    assert names(figure) == ["2", "5"]
    assert not pictures(figure)[3].any()


def test_windows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"got \(3, 4, 4\) and None"):
        window_page([np.zeros((3, 4, 4))])
    with pytest.raises(ValueError, match=r"got \(1, 3, 4, 4\) and \(1, 4, 4\)"):
        window_page([np.zeros((1, 3, 4, 4))], labels=[np.zeros((1, 4, 4), int)])


# ---- a whole case ----------------------------------------------------------------------------------------------------


def case(depth: int = 5, side: int = 7) -> Volume:
    return Volume(np.zeros((1, depth, side, side), np.float32), affine_from_spacing((3.0, 2.0, 1.0)))


def labelled(volume: Volume, *places: tuple[int, tuple]) -> LabelMap:
    array = np.zeros(volume.array.shape, np.uint8)
    for bit, place in places:
        array[(0, *place)] |= bit
    return LabelMap(array, volume.affine)


def test_truth_is_filled_and_the_prediction_outlined():
    volume = case()
    square = np.s_[2, 1:6, 1:6]
    truth, guess = labelled(volume, (1, square)), labelled(volume, (2, square))
    figure = montage(volume, truth, guess, regions={"a": (1, 3), "b": (2, 3)}, title="case1_day2")
    assert captions(figure) == ["1", "2", "3", "4", "5"]
    assert [picture.any() for picture in pictures(figure)] == [False, False, True, False, False]
    third = pictures(figure)[2]
    np.testing.assert_allclose(third[3, 3], 0.4 * FIRST)
    np.testing.assert_allclose(third[1:6, 1], [SECOND] * 5)
    assert names(figure) == ["a", "b"]
    assert [text.get_text() for text in figure.texts] == ["case1_day2: truth filled, prediction outlined"]


def test_overlaps_are_drawn_over_one_another():
    volume = case()
    truth = labelled(volume, (1, np.s_[0, 0:4]), (2, np.s_[0, 3:]))
    (first, *_) = pictures(montage(volume, truth, regions={"a": (1, 3), "b": (2, 3)}))
    np.testing.assert_allclose(first[0, 0], 0.4 * FIRST)
    np.testing.assert_allclose(first[3, 0], 0.6 * 0.4 * FIRST + 0.4 * SECOND)
    np.testing.assert_allclose(first[6, 0], 0.4 * SECOND)


def test_slices_are_chosen_and_broken_into_rows():
    volume = case(depth=11, side=2)
    assert captions(montage(volume, every=5)) == ["1", "6", "11"]
    figure = montage(volume, columns=4)
    tops = [round(axes.get_position().y0, 4) for axes in figure.axes]
    assert len(captions(figure)) == 11 and [tops.count(top) for top in sorted(set(tops), reverse=True)] == [4, 4, 3]
    assert captions(montage(case(depth=81, side=2)))[:3] == ["1", "4", "7"]  # every third: 27 of 81, two would be 41
    box = figure.axes[0].get_window_extent()
    assert box.height / box.width == pytest.approx(2)  # pixels of 2 x 1 mm


def test_a_case_by_itself_has_no_legend():
    figure = montage(case(), title="case")
    assert names(figure) == [] and [text.get_text() for text in figure.texts] == ["case"]


def test_label_maps_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"the prediction, \(1, 4, 7, 7\), does not lie on a volume of \(5, 7, 7\)"):
        montage(case(), None, labelled(case(depth=4)))


# ---- the command -----------------------------------------------------------------------------------------------------


def test_browse_draws_windows(tmp_path: Path):
    text = f"""
_base_ = [{str(ROOT / "configs/debug/segment.py")!r}]
phantoms = dict(type="PhantomOrgans", data_root={str(tmp_path / "organs")!r}, make=dict(cases=1), split="all")
pipeline = [dict(type="Window", center=40, width=400), dict(type="PackSegmentation")]
windows = dict(type="SliceWindows", dataset=phantoms, window=dict(slices=3), pipeline=pipeline, _delete_=True)
train_dataloader = dict(dataset=windows)
"""
    (tmp_path / "windows.py").write_text(text)
    main(["browse", str(tmp_path / "windows.py"), "--number", "2", "--out", str(tmp_path / "sheets")])
    with Image.open(tmp_path / "sheets" / "train_01.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    assert pixels.shape[1] < 1100  # a row is text and two pictures of 300 pixels, not three slices
    assert (np.ptp(pixels, axis=-1) > 50).any()  # outlines
