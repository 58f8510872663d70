"""Volume, LabelMap and Sample: what they hold, what they refuse."""

import copy

import numpy as np
import pytest
import torch

from vdt3d.structures import LabelMap, Sample, SegmentationSample, Volume, affine_from_spacing, describe_grids

OBLIQUE = np.array([[0.0, -0.6, 1.6, 5.0], [0.0, 0.8, 1.2, 6.0], [3.0, 0.0, 0.0, 7.0], [0.0, 0.0, 0.0, 1.0]])


def test_a_volume_knows_its_shape_channels_and_spacing():
    volume = Volume(np.zeros((2, 3, 4, 5)), OBLIQUE)
    assert (volume.channels, volume.shape) == (2, (3, 4, 5))
    assert volume.spacing == pytest.approx((3, 1, 2))  # lengths of the columns: 3; 0.6, 0.8; 1.6, 1.2


def test_z_points_up_y_forward_and_x_to_the_right():
    affine = affine_from_spacing((5.0, 2.0, 1.0))
    assert (affine @ [1, 0, 0, 1]).tolist() == [0, 0, 5, 1]
    assert (affine @ [0, 1, 0, 1]).tolist() == [0, 2, 0, 1]
    assert (affine @ [0, 0, 1, 1]).tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    "spacing", [1.0, (1.0, 1.0), (0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, float("nan"))], ids=str
)
def test_a_spacing_is_three_positive_numbers(spacing):
    with pytest.raises(ValueError, match="three positive numbers"):
        affine_from_spacing(spacing)


def test_a_volume_without_a_channel_axis_is_refused():
    with pytest.raises(ValueError, match=r"wants an array \(C, D, H, W\), got shape \(3, 4, 5\)"):
        Volume(np.zeros((3, 4, 5)))


@pytest.mark.parametrize(
    "affine", [np.eye(3), np.diag([1.0, 0.0, 1.0, 1.0]), np.diag([1.0, np.nan, 1.0, 1.0])], ids=str
)
def test_an_affine_that_places_nothing_is_refused(affine):
    with pytest.raises(ValueError, match="finite, invertible 4 x 4"):
        Volume(np.zeros((1, 3, 4, 5)), affine)


@pytest.mark.parametrize("array", [np.zeros((1, 2, 2, 2)), torch.zeros(1, 2, 2, 2)], ids=["numpy", "torch"])
def test_a_label_map_of_fractions_is_refused(array):
    with pytest.raises(ValueError, match="holds integers, got"):
        LabelMap(array)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_a_label_map_holds_integers_and_booleans(dtype):
    assert LabelMap(np.zeros((1, 2, 2, 2), dtype)).array.dtype == dtype


def test_one_grid_means_every_corner_within_a_thousandth_of_a_voxel():
    volume = Volume(np.zeros((1, 10, 10, 10)), OBLIQUE)
    near, far = OBLIQUE.copy(), OBLIQUE.copy()
    near[0, 3] += 0.0009  # the smallest voxel is 1 mm wide
    far[2, 0] += 0.0002  # 9 slices on, 0.0018 mm apart
    assert volume.same_grid(volume.replace(affine=near))
    assert not volume.same_grid(volume.replace(affine=far))
    assert not volume.same_grid(Volume(np.zeros((1, 10, 10, 9)), OBLIQUE))


def test_a_sample_that_moves_copies_no_volume():
    """mmengine copies what a sample knows beside its fields, whatever it is, on every way to another device."""
    truth = LabelMap(np.zeros((1, 2, 2, 2), np.uint8))
    sample = SegmentationSample(gt_labels=torch.zeros(2, 2, 2), pred_labels=truth.replace())
    sample.set_metainfo({"reference": truth, "sample_name": "a"})
    for moved in (sample, sample.cpu(), sample.new(), sample.clone(), copy.deepcopy(sample)):
        assert moved.reference is truth and moved.pred_labels is sample.pred_labels
    assert copy.deepcopy(Sample(truth)).image is truth


def test_a_label_map_that_does_not_lie_on_its_image_is_refused():
    image, moved = Volume(np.zeros((1, 4, 4, 4))), affine_from_spacing((2.0, 1.0, 1.0))
    with pytest.raises(ValueError, match=r"case 'a': the label map, .*, does not lie on the grid of its image"):
        Sample(image, LabelMap(np.zeros((1, 4, 4, 4), np.uint8), moved), name="a")


def test_grids_are_described_by_where_they_differ():
    one = Volume(np.zeros((1, 2, 3, 4)))
    tilted = one.affine.copy()
    tilted[0, 1] = 0.006  # keeps spacing and origin to four decimals, but for the direction of the rows
    for other, words in (
        (affine_from_spacing((1.0, 1.0, 1.00004)), ("(1.0, 1.0, 1.0) mm", "(1.0, 1.0, 1.00004) mm")),
        (tilted, ("(0.0, 1.0, 0.0)", "(0.006, 1.0, 0.0)")),
    ):
        for text, word in zip(describe_grids(one, one.replace(affine=other)), words, strict=True):
            assert "(2, 3, 4) voxels" in text and word in text
