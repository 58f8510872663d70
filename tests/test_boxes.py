"""Boxes: where they go when their grid is moved, cut, resized, mirrored or turned; how they overlap. All by hand."""

import numpy as np
import pytest

from vdt3d.structures import Boxes, Sample, Volume, affine_from_spacing, box_overlap
from vdt3d.transforms import CenterCrop3D, PackDetection, Pad3D, RandomFlip3D, RandomRotate90, Resize3D

SHAPE = (4, 8, 10)
BOX = (1, 2, 3, 2, 5, 7)  # one slice, 3 rows, 4 columns


def sample(*corners, **known) -> Sample:
    affine = affine_from_spacing((5.0, 0.8, 0.8))
    image = Volume(np.zeros((1, *SHAPE), np.float32), affine)
    return Sample(image, boxes=Boxes(np.array(corners or [BOX]), affine=affine), name="case", **known)


def corners(moved: Sample) -> list[list[float]]:
    return moved.boxes.corners.round(9).tolist()


def test_a_mirrored_box_is_counted_from_the_other_end():
    assert corners(RandomFlip3D("W", prob=1)(sample())) == [[1, 2, 3, 2, 5, 7]]  # 10 - 7 = 3 and 10 - 3 = 7
    assert corners(RandomFlip3D("DH", prob=1)(sample())) == [[2, 3, 3, 3, 6, 7]]  # 4 - 2, 8 - 5


def test_cut_and_padded():
    assert corners(CenterCrop3D((2, 4, 6))(sample())) == [[0, 0, 1, 1, 3, 5]]  # begins at (1, 2, 2)
    assert corners(Pad3D((None, 12, 12))(sample())) == [[1, 4, 4, 2, 7, 8]]


def test_resized():
    assert corners(Resize3D((4, 16, 5))(sample())) == [[1, 4, 1.5, 2, 10, 3.5]]


def test_turned():
    """A quarter turn makes the sides change places, and the box is found by its voxels."""
    array = np.zeros((1, *SHAPE), np.float32)
    array[0, 1:2, 2:5, 3:7] = 1
    turned = RandomRotate90(["HW"], prob=1)(sample().replace(image=Volume(array, affine_from_spacing((5.0, 0.8, 0.8)))))
    (low_d, low_h, low_w, high_d, high_h, high_w) = turned.boxes.corners[0].round().astype(int)
    filled = np.argwhere(turned.image.array[0])
    assert filled.min(0).tolist() == [low_d, low_h, low_w]
    assert (filled.max(0) + 1).tolist() == [high_d, high_h, high_w]


def test_there_and_back():
    start = sample()
    moved = Resize3D((4, 13, 17))(RandomFlip3D("DHW", prob=1)(start))
    back = moved.boxes.on(start.image.affine)
    np.testing.assert_allclose(back.corners, start.boxes.corners)


def test_what_is_outside_is_cut_off_and_slivers_are_left_out():
    boxes = Boxes(
        np.array([(0.4, -3, 2, 0.6, 2, 20), (1, 7.5, 0, 2, 9, 4), (4, 0, 0, 5, 4, 4)]),
        np.array([0, 1, 2]),
        facts={"type": np.array(["a", "b", "c"])},
    )
    inside = boxes.inside(SHAPE)
    assert inside.corners.tolist() == [[0.4, 0, 2, 0.6, 2, 10]]  # 0.5 rows of the second are left; the third is beyond
    assert inside.labels.tolist() == [0] and inside.facts["type"].tolist() == ["a"]


def test_packed_boxes_are_left_upper_right_lower():
    packed = PackDetection()(sample(BOX, (0, 0, 9.5, 1, 4, 12), reference=sample().boxes))["data_samples"]
    assert packed.gt_boxes.tolist() == [[3, 2, 7, 5]]
    assert packed.gt_labels.tolist() == [0]
    assert packed.grid[0] == SHAPE and len(packed.reference) == 1
    assert "gt_boxes" not in PackDetection()(sample().replace(boxes=None))["data_samples"]


@pytest.mark.parametrize(
    ("corners", "told", "said"),
    [
        ([(0, 0, 0, 1, -1, 1)], {}, "lower and upper corners"),
        ([(0, 0, 0, 1, np.nan, 1)], {}, "lower and upper corners"),
        ([BOX], {"labels": np.zeros(2)}, "1 boxes have 2 labels"),
        ([BOX], {"facts": {"type": np.zeros(3)}}, "1 boxes have 3 type"),
    ],
)
def test_what_is_no_box_is_refused(corners, told, said):
    with pytest.raises(ValueError, match=said):
        Boxes(np.array(corners), **told)


def test_no_boxes_are_boxes_too():
    none = Boxes(np.zeros((0, 6)))
    assert len(none.on(affine_from_spacing((2.0, 1.0, 1.0)))) == len(none.inside(SHAPE)) == 0


@pytest.mark.parametrize(
    ("box", "other", "iou", "iobb", "iom"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1, 1, 1),
        ((0, 0, 10, 10), (5, 0, 15, 10), 50 / 150, 50 / 100, 50 / 100),
        ((2, 2, 4, 4), (0, 0, 10, 10), 4 / 100, 1, 1),  # a small box within a large true one
        ((0, 0, 10, 10), (2, 2, 4, 4), 4 / 100, 4 / 100, 1),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0, 0, 0),  # they touch
        ((0, 0, 10, 10), (20, 20, 30, 30), 0, 0, 0),  # apart along both axes: no product of two negative sides
        ((3, 3, 3, 5), (0, 0, 10, 10), 0, 0, 0),  # of no size
        ((3, 3, 3, 5), (3, 3, 3, 5), 0, 0, 0),
        ((0, 0, 0, 2, 2, 2), (1, 0, 0, 3, 2, 2), 4 / 12, 4 / 8, 4 / 8),  # three axes: 8 + 8 - 4 voxels
    ],
)
def test_overlap_by_hand(box, other, iou, iobb, iom):
    box, other = np.array(box, float), np.array(other, float)
    assert [box_overlap(box, other, kind) for kind in ("iou", "iobb", "iom")] == [iou, iobb, iom]


def test_overlap_of_inclusive_corners():
    # Corners 0 to 9 and 5 to 14 as pixels are ten pixels a side, of which five overlap: 50 of 150; as lengths, 9 and 4:
    # 36 of 126.
    box, other = np.array([0, 0, 9, 9], float), np.array([5, 0, 14, 9], float)
    assert box_overlap(box, other, "iou_plus_1") == 50 / 150 and box_overlap(box, other) == 36 / 126


def test_a_centre_within_the_radius():
    nodule = np.array([0, 0, 0, 2, 10, 10], float)  # a ball of 10 mm in slices of 5 mm: the middle is (1, 5, 5)
    centres = [(1, 5, 5), (1, 5, 9.9), (1, 5, 10), (1.9, 5, 5), (1.8, 8.1, 5), (1.7, 8.1, 5)]
    # (0.8 / 1)^2 + (3.1 / 5)^2 is 1.02, and with 0.7 it is 0.87.
    boxes = np.array([[*centre, *centre] for centre in centres])
    assert box_overlap(boxes, nodule, "centre").tolist() == [1, 1, 0, 1, 0, 1]


def test_overlap_of_every_pair():
    boxes, others = np.array([(0, 0, 2, 2), (0, 0, 1, 2)], float), np.array([(0, 0, 2, 2), (1, 0, 2, 2), (5, 5, 6, 6)])
    assert box_overlap(boxes[:, None], others).tolist() == [[1, 0.5, 0], [0.5, 0, 0]]
    assert box_overlap(np.empty((0, 1, 4)), others).shape == (0, 3)


def test_an_unknown_overlap_is_refused():
    with pytest.raises(ValueError, match="overlap='giou' is unknown"):
        box_overlap(np.empty((0, 4)), np.empty((0, 4)), "giou")
