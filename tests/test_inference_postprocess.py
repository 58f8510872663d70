"""Cleaning label maps: components, holes and specks counted by hand."""

import numpy as np
import pytest

from vdt3d.inference import PostProcess, fill_holes, keep_largest, remove_small
from vdt3d.registry import UnknownTypeError
from vdt3d.structures import LabelMap, affine_from_spacing


def row(*labels, spacing=(1, 1, 1)):
    return LabelMap(np.array(labels, np.uint8).reshape(1, 1, 1, -1), affine_from_spacing(spacing))


def listed(label_map):
    return label_map.array.flatten().tolist()


def test_the_largest_component_of_every_label_stays():
    before = row(1, 1, 0, 1, 2, 0, 2, 2)
    assert listed(keep_largest(before)) == [1, 1, 0, 0, 0, 0, 2, 2]
    assert listed(before) == [1, 1, 0, 1, 2, 0, 2, 2]  # what was given is left alone


def test_labels_of_a_group_are_one_thing_and_others_stay():
    # 1 and 2 together: three voxels, then two; 3 is asked about by nobody.
    before = row(1, 2, 1, 0, 2, 2, 0, 3, 0, 3)
    assert listed(keep_largest(before, [(1, 2)])) == [1, 2, 1, 0, 0, 0, 0, 3, 0, 3]
    assert listed(keep_largest(before, [2])) == [1, 0, 1, 0, 2, 2, 0, 3, 0, 3]


def test_of_equal_components_the_first_stays():
    assert listed(keep_largest(row(0, 1, 0, 1, 0))) == [0, 1, 0, 0, 0]


def test_corners_touch_or_do_not():
    diagonal = LabelMap(np.eye(2, dtype=np.uint8).reshape(1, 1, 2, 2))
    assert listed(keep_largest(diagonal)) == [1, 0, 0, 1]
    assert listed(keep_largest(diagonal, connectivity=6)) == [1, 0, 0, 0]


def test_small_components_are_measured_in_millimetres():
    # a voxel has 2 x 3 x 0.5 = 3 mm3: the pair has 6, the single one 3
    before = row(1, 1, 0, 1, 0, 2, spacing=(2, 3, 0.5))
    assert listed(remove_small(before, 6.0)) == [1, 1, 0, 0, 0, 0]
    assert listed(remove_small(before, 6.1, labels=[1])) == [0, 0, 0, 0, 0, 2]
    assert listed(remove_small(before, 3.0)) == listed(before)
    with pytest.raises(ValueError, match="not negative"):
        remove_small(before, -1)


def shell(opened=False):
    """A box of label 1, 5 voxels wide, around 3 x 3 x 3: background, and a voxel of label 2 in the middle."""
    array = np.zeros((1, 7, 7, 7), np.uint8)
    array[0, 1:6, 1:6, 1:6] = 1
    array[0, 2:5, 2:5, 2:5] = 0
    array[0, 3, 3, 3] = 2
    if opened:
        array[0, 1, 3, 3] = 0
    return LabelMap(array)


def test_a_hole_is_filled_and_what_lies_in_it_stays():
    filled = fill_holes(shell())
    assert np.bincount(filled.array.ravel()).tolist() == [7**3 - 5**3, 5**3 - 1, 1]
    assert filled.array[0, 3, 3, 3] == 2


def test_a_hole_with_a_way_out_is_none():
    assert np.array_equal(fill_holes(shell(opened=True)).array, shell(opened=True).array)


def test_a_hole_at_the_border_of_the_scan_is_none():
    assert listed(fill_holes(row(1, 0, 1))) == [1, 0, 1]


def test_labels_that_do_not_occur_change_nothing():
    nothing = row(0, 0, 0)
    for step in (keep_largest, fill_holes, lambda label_map: remove_small(label_map, 1.0)):
        assert listed(step(nothing)) == [0, 0, 0]
    assert listed(keep_largest(row(1, 0, 1), [7])) == [1, 0, 1]


def test_a_config_names_the_steps_in_order():
    clean = PostProcess([dict(type="remove_small", min_mm3=2.0), dict(type="keep_largest", groups=[(1, 2)])])
    assert listed(clean(row(1, 1, 0, 2, 0, 2, 2, 2))) == [0, 0, 0, 0, 0, 2, 2, 2]
    assert listed(PostProcess()(row(1, 0, 1))) == [1, 0, 1]
    with pytest.raises(UnknownTypeError, match="did you mean 'keep_largest'"):
        PostProcess([dict(type="keep_larger")])


def test_organs_that_overlap_are_cleaned_one_by_one():
    """Labels are sums of bits. The first organ has pieces of 4 and 1 voxels, the second of 2 and 1, the third of 1."""
    before = row(1, 3, 3, 1, 0, 1 + 4, 0, 2)
    steps = [dict(type="remove_small", min_mm3=2.0, overlapping=True)]
    assert listed(PostProcess(steps)(before)) == [1, 3, 3, 1, 0, 0, 0, 0]
    assert listed(PostProcess([dict(type="keep_largest", overlapping=True)])(before)) == [1, 3, 3, 1, 0, 4, 0, 0]
    assert listed(PostProcess(steps)(row(0, 0))) == [0, 0]
    # By labels, the overlap (3) is a thing of its own, and two organs lose it.
    assert listed(PostProcess([dict(type="remove_small", min_mm3=3.0)])(before)) == [0] * 8
    assert listed(PostProcess([dict(type="remove_small", min_mm3=3.0, overlapping=True)])(before)) == [1] * 4 + [0] * 4
