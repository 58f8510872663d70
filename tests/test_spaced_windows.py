"""Windows spaced in millimetres: where each slice comes from, worked out by hand, and what is cut out of a scan."""

import numpy as np
import pytest

from vdt3d.structures import Boxes, LabelMap, Sample, SpacedWindow, Volume, affine_from_spacing
from vdt3d.transforms import CutWindow, RandomChoiceResize3D, mixed
from vdt3d.utils.random import SampleKey, keyed

# Slices 2.5 mm apart about slice 50. Source k.f lies between k and k + 1, by the share f; the key slice is 50.
# Slice p from the key is p * 2.5 / interval slices away: at 2 mm p * 1.25, so 1.25, 2.5, 3.75 and 5. The published code
# mixed all of them by the fraction of 1.25.
BY_HAND = {
    1.0: (40, 42.5, 45, 47.5, 50, 52.5, 55, 57.5, 60),
    1.25: (42, 44, 46, 48, 50, 52, 54, 56, 58),
    2.0: (45, 46.25, 47.5, 48.75, 50, 51.25, 52.5, 53.75, 55),
    2.5: (46, 47, 48, 49, 50, 51, 52, 53, 54),
    5.0: (48, 48.5, 49, 49.5, 50, 50.5, 51, 51.5, 52),
}
LINE = np.arange(200, dtype=np.float32)  # slice k has the value k, so a mix has the value of its place


def places(window: SpacedWindow, key: int, interval: float, there) -> list[float]:
    """The places in the scan, with fractions, of the slices of a window."""
    sources = window.sources(key, window.step(interval), there)
    planes = {place: LINE[place : place + 1] for source in sources for place in source[:2]}
    return [float(plane[0]) for plane in mixed(planes, sources)]


@pytest.mark.parametrize("interval", BY_HAND)
def test_slices_are_mixed_by_their_own_distance(interval: float):
    assert places(SpacedWindow(), 50, interval, range(200)) == list(BY_HAND[interval])


def test_shares_and_neighbours():
    window = SpacedWindow(slices=5, spacing=2.5)
    # 2 mm: -2.5, -1.25, 0, 1.25 and 2.5 slices from slice 10; -1.25 is 8.75, three quarters of slice 9
    assert window.sources(10, window.step(2.0), range(20)) == (
        (7, 8, 0.5),
        (8, 9, 0.75),
        (10, 10, 0.0),
        (11, 12, 0.25),
        (12, 13, 0.5),
    )


@pytest.mark.parametrize(
    ("key", "interval", "there", "expected"),
    [
        # At the first slice and the last of 6, 5 mm apart: half steps, and the end stands for what is beyond.
        (0, 5.0, range(6), (0, 0, 0, 0, 0, 0.5, 1, 1.5, 2)),
        (5, 5.0, range(6), (3, 3.5, 4, 4.5, 5, 5, 5, 5, 5)),
        # The second: half a slice before the first there is the first.
        (1, 5.0, range(6), (0, 0, 0, 0.5, 1, 1.5, 2, 2.5, 3)),
        # 1 mm, key 3 of 10: -7, -4.5 and -2 are slice 0; 0.5 is a mix; 5.5 and 8; 10.5 and 13 are slice 9.
        (3, 1.0, range(10), (0, 0, 0, 0.5, 3, 5.5, 8, 9, 9)),
        (3, 1.25, range(10), (0, 0, 0, 1, 3, 5, 7, 9, 9)),
        # 2 mm, key 8 of 10: 9.25 is between slice 9 and none.
        (8, 2.0, range(10), (3, 4.25, 5.5, 6.75, 8, 9, 9, 9, 9)),
        (8, 2.5, range(10), (4, 5, 6, 7, 8, 9, 9, 9, 9)),
        # 2.5 mm, of the numbers from 101: slice 104 is missing, and 103, on its way to the key slice, stands for it;
        # 98 to 100 and 106 are not there either.
        (102, 2.5, (101, 102, 103, 105), (101, 101, 101, 101, 102, 103, 103, 105, 105)),
        # 5 mm, 11 is missing: 10.5 is half of 10 and half of 10; 11.5 half of 10 and half of 12.
        (10, 5.0, np.array([8, 9, 10, 12]), (8, 8.5, 9, 9.5, 10, 10, 10, 11, 12)),
        (7, 1.0, [7], (7,) * 9),
    ],
)
def test_at_the_ends_and_where_slices_are_missing(key, interval, there, expected):
    assert places(SpacedWindow(), key, interval, there) == list(expected)


def test_an_even_number_has_one_more_before_the_key_slice():
    window = SpacedWindow(slices=4, spacing=5.0)
    assert (window.place, window.answered) == (2, range(2, 3))
    assert places(window, 10, 5.0, range(20)) == [8, 9, 10, 11]


def test_a_rounding_error_reads_no_second_slice():
    window = SpacedWindow(slices=3, spacing=0.3)
    assert window.step(0.1) < 3  # 2.9999999999999996
    assert window.sources(1, window.step(0.1), range(10))[-1] == (4, 4, 0.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"slices": 0}, "slices=0"),
        ({"spacing": 0.0}, "spacing=0.0"),
        ({"spacing": float("inf")}, "spacing=inf"),
        ({"stride": 2}, "no stride; it has slices, spacing"),
    ],
)
def test_windows_that_cannot_be(arguments, said):
    with pytest.raises(ValueError, match=said):
        SpacedWindow.of(arguments)


def test_a_key_slice_that_is_not_there_is_refused():
    for key in (0, 4, 9):
        with pytest.raises(ValueError, match=f"no slice {key} among 3"):
            SpacedWindow().sources(key, 1.0, [1, 3, 5])


def scan(spacing=(5.0, 0.8, 0.8)) -> Sample:
    """Six slices; slice k has the values 100 k and more."""
    array = (100 * np.arange(6)[:, None, None] + np.arange(12).reshape(3, 4))[None].astype(np.float32)
    affine = affine_from_spacing(spacing)
    labels = LabelMap(np.arange(1, 7, dtype=np.uint8)[None, :, None, None] * np.ones((1, 6, 3, 4), np.uint8), affine)
    boxes = Boxes(np.array([(3, 1, 1, 4, 3, 3)]), affine=affine)
    return Sample(Volume(array, affine), labels, boxes=boxes, name="scan")


def test_cut_out_of_a_scan():
    cut = CutWindow(SpacedWindow(slices=5, spacing=2.5)).at(scan(), 3)
    # 5 mm apart: slices 2, 2.5, 3, 3.5, 4
    assert cut.image.array[0, :, 0, 0].tolist() == [200, 250, 300, 350, 400]
    assert cut.image.array.dtype == np.float32 and cut.image.array[0, 1, 2, 3] == 261
    assert cut.label_map.array[0, :, 0, 0].tolist() == [3, 4, 4, 5, 5]  # of two as near, the one behind
    assert cut.image.spacing == pytest.approx((2.5, 0.8, 0.8))
    # The window's third slice is the scan's slice 3, at 15 mm.
    assert cut.image.affine @ [2, 0, 0, 1] == pytest.approx([0, 0, 15, 1])
    # A slice of 5 mm is two of the window: its middle is that of slice 2, which reaches from 2 to 3.
    assert cut.boxes.corners.tolist() == [[pytest.approx(1.5), 1, 1, pytest.approx(3.5), 3, 3]]


def test_cut_along_another_axis():
    cut = CutWindow(SpacedWindow(slices=3, spacing=1.6), "W").at(scan(), 0)
    # 1.6 mm are two columns: columns 0 (for -2), 0 and 2
    assert cut.image.array[0, :, 1, 2].tolist() == [108, 108, 110]  # slice 1, row 2: 100 + 8, and 2 more
    assert cut.image.spacing == pytest.approx((1.6, 5.0, 0.8))


def test_a_size_is_chosen_and_sides_keep_their_ratio():
    transform = RandomChoiceResize3D(sizes=(6, 12))
    sample = Sample(Volume(np.zeros((1, 3, 4, 8), np.float32)), boxes=Boxes(np.array([(1, 1, 2, 2, 3, 6)])))
    shapes = set()
    for index in range(20):
        with keyed(SampleKey(seed=0, epoch=0, index=index)):
            moved = transform(sample)
        shapes.add(moved.image.shape)
        zoom = moved.image.shape[2] / 8
        np.testing.assert_allclose(moved.boxes.corners, [(1, zoom, 2 * zoom, 2, 3 * zoom, 6 * zoom)])
    assert shapes == {(3, 3, 6), (3, 6, 12)}  # 4 x 8 by 0.75 and by 1.5


@pytest.mark.parametrize("sizes", [(), (0,), (3.5,)])
def test_sizes_that_cannot_be(sizes):
    with pytest.raises(ValueError, match=r"sizes|whole number"):
        RandomChoiceResize3D(sizes)
