"""What the transforms of volumes do to single voxels, worked out by hand, and what they refuse."""

import numpy as np
import pytest
import torch

from vdt3d.registry import TRANSFORMS
from vdt3d.structures import LabelMap, Sample, Volume, affine_from_spacing
from vdt3d.transforms import (
    CenterCrop3D,
    ClipNormalize3D,
    Normalize3D,
    PackVolume,
    Pad3D,
    Percentile3D,
    RandomBlur3D,
    RandomContrast3D,
    RandomFlip3D,
    RandomFlipOneAxis3D,
    RandomGamma3D,
    RandomGaussianNoise,
    RandomLowResolution3D,
    RandomRotate90,
    RandomScaleShift,
    RandomShiftCrop3D,
    Resize3D,
    Window,
    ZScore,
)
from vdt3d.utils.random import SampleKey, keyed


def line(*values: float, dtype=np.float32) -> Volume:
    """A volume of one row of voxels, 1 mm apart, along W."""
    return Volume(np.array(values, dtype=dtype).reshape(1, 1, 1, -1))


def values(sample: Sample) -> list[float]:
    return sample.image.array.ravel().tolist()


def ramp(side: int) -> Sample:
    """A cube whose voxels tell their place: the value at (z, y, x) is 10000 z + 100 y + x."""
    z, y, x = np.indices((side, side, side))
    return Sample(Volume((10000 * z + 100 * y + x)[None].astype(np.int32)), name="lidc7_2")


def first_places(transform, sample: Sample, draws: int) -> set[int]:
    """The first voxel of the result, over many keys."""
    found = set()
    for index in range(draws):
        with keyed(SampleKey(0, 0, index)):
            found.add(int(transform(sample).image.array[0, 0, 0, 0]))
    return found


@pytest.mark.parametrize(("side", "size", "start"), [(60, 48, 6), (61, 48, 6), (5, 3, 1), (4, 3, 1), (3, 3, 0)])
def test_a_centre_crop_starts_at_half_the_side_minus_half_the_size(side, size, start):
    cropped = CenterCrop3D(size)(ramp(side)).image
    assert cropped.array[0, 0, 0, 0] == start * 10101
    assert cropped.shape == (size,) * 3
    assert cropped.affine[:3, 3].tolist() == [start] * 3


def test_the_published_crop_moves_by_at_most_the_shift_along_each_axis():
    starts = first_places(RandomShiftCrop3D(2, shift=(0, 1, 2)), ramp(6), draws=200)
    assert starts == {10000 * 2 + 100 * y + x for y in (1, 2, 3) for x in (0, 1, 2, 3, 4)}


def test_the_published_crop_needs_58_voxels():
    crop = RandomShiftCrop3D(48, shift=5)
    crop(ramp(58))
    with pytest.raises(ValueError, match=r"'lidc7_2'.*\(57, 57, 57\).*at least \(58, 58, 58\).*Pad3D"):
        crop(ramp(57))


def test_padding_surrounds_and_leaves_larger_sides_alone():
    padded = Pad3D((1, 2, 6))(Sample(line(1, 2, 3, 4))).image
    assert padded.array.tolist() == [[[[0, 0, 0, 0, 0, 0], [0, 1, 2, 3, 4, 0]]]]
    air = Pad3D((1, 1, 4), pad_value=-1024)(Sample(line(1, 2), LabelMap(line(1, 2).array.astype(np.uint8))))
    assert air.image.array.tolist() == [[[[-1024, 1, 2, -1024]]]] and air.label_map.array.tolist() == [[[[0, 1, 2, 0]]]]
    assert Pad3D(1)(Sample(line(1, 2, 3))).image.array.tolist() == [[[[1, 2, 3]]]]
    assert Pad3D((None, 2, None))(Sample(line(1, 2, 3))).image.shape == (1, 2, 3)


def test_resizing_interpolates_images_and_picks_labels():
    sample = Sample(line(0, 2, 4, 6), LabelMap(np.array([[[[5, 5, 9, 9]]]])))
    half = Resize3D((1, 1, 2))(sample)
    assert values(half) == [1, 5]  # the means of the voxels that meet at the new centres
    assert half.label_map.array.ravel().tolist() == [5, 9]
    assert half.image.affine[:3, :3].tolist() == affine_from_spacing((1, 1, 2))[:3, :3].tolist()
    assert half.image.affine[0, 3] == 0.5  # the first new voxel covers the first two
    doubled = Resize3D((None, 1, 8))(sample)  # None keeps what there is
    assert values(doubled) == [0, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6]
    assert doubled.label_map.array.ravel().tolist() == [5, 5, 5, 5, 9, 9, 9, 9]


def test_one_label_of_three_is_the_middle_one():
    sample = Sample(line(1, 2, 3), LabelMap(np.array([[[[1, 2, 3]]]])))
    assert Resize3D(1)(sample).label_map.array.tolist() == [[[[2]]]]


def test_flips():
    sample = Sample(line(1, 2, 3))
    assert values(RandomFlip3D("W", prob=1)(sample)) == [3, 2, 1]
    assert values(RandomFlip3D("DH", prob=1)(sample)) == [1, 2, 3]
    assert values(RandomFlip3D("DHW", prob=0)(sample)) == [1, 2, 3]


def test_the_published_flip_takes_one_axis_or_none():
    corners = {0, 20000, 200, 2}
    assert first_places(RandomFlipOneAxis3D(), ramp(3), draws=60) == corners
    assert first_places(RandomFlip3D(), ramp(3), draws=100) == {a + b for a in (0, 20000) for b in (0, 200, 2, 202)}


def test_quarter_turns_are_numpys():
    array = np.arange(24).reshape(1, 2, 3, 4)
    turned = RandomRotate90().apply(Volume(array), quarters=(1, 2, 3)).array
    expected = np.rot90(np.rot90(np.rot90(array, 1, axes=(1, 2)), 2, axes=(1, 3)), 3, axes=(2, 3))
    np.testing.assert_array_equal(turned, expected)
    assert len(first_places(RandomRotate90(["HW"]), ramp(3), draws=40)) == 4
    assert len(first_places(RandomRotate90(["HW"], prob=1), ramp(3), draws=40)) == 3  # without the one that stays
    assert first_places(RandomRotate90(prob=0), ramp(3), draws=10) == {0}


def test_normalising_with_the_published_lidc_numbers():
    assert values(Normalize3D(mean=99, std=77)(Sample(line(22, 99, 176, dtype=np.uint8)))) == [-1, 0, 1]


def test_normalising_each_channel_with_its_own_numbers():
    image = Volume(np.array([10.0, 10.0]).reshape(2, 1, 1, 1))
    assert values(Normalize3D(mean=[10, 0], std=5)(Sample(image))) == [0, 2]
    with pytest.raises(ValueError, match="3 means and 1 stds do not fit a volume of 2 channels"):
        Normalize3D(mean=[1, 2, 3], std=1)(Sample(image))


def test_a_window_of_400_around_40_reaches_from_minus_160_to_240():
    window = Window(center=40, width=400)
    assert values(window(Sample(line(-1000, -160, 40, 140, 240, 3000, dtype=np.int16)))) == [0, 0, 0.5, 0.75, 1, 1]


def test_z_scores():
    assert values(ZScore()(Sample(line(2, 4)))) == [-1, 1]  # mean 3, standard deviation 1
    assert values(ZScore()(Sample(line(7, 7)))) == [0, 0]
    assert values(ZScore(floor=10)(Sample(line(2, 4)))) == pytest.approx([-0.1, 0.1])


def test_scale_and_shift():
    assert values(RandomScaleShift(scale=(2, 2), shift=(1, 1))(Sample(line(0, 3)))) == [1, 7]


def test_each_channel_is_scaled_and_shifted_by_itself():
    image = Volume(np.ones((2, 1, 1, 1), np.float32))
    first, second = values(RandomScaleShift(shift=(0, 0))(Sample(image)))
    assert first != second
    assert {0.9 <= first <= 1.1, 0.9 <= second <= 1.1} == {True}
    first, second = values(RandomScaleShift(together=True)(Sample(image)))
    assert first == second != 1


def test_contrast_stretches_around_the_mean():
    sample = Sample(line(0, 2, 4))
    assert values(RandomContrast3D((2, 2), keep_range=False, prob=1)(sample)) == [-2, 2, 6]
    assert values(RandomContrast3D((2, 2), prob=1)(sample)) == [0, 2, 4]
    assert values(RandomContrast3D((0.5, 0.5), prob=1)(sample)) == [1, 2, 3]


@pytest.mark.parametrize(("invert", "bent"), [(0, [0, 1 / 16, 1]), (1, [0, 7 / 16, 1])])
def test_gamma_bends_the_scale_and_keeps_mean_and_spread(invert, bent):
    before = np.array([10, 15, 30])  # of the range 0..1: 0, 1/4, 1; its square, and one less the square of 3/4
    after = np.array(values(RandomGamma3D((2, 2), invert_prob=invert, prob=1)(Sample(line(*before)))))
    np.testing.assert_allclose((after - after[0]) / (after[2] - after[0]), bent, atol=1e-6)
    np.testing.assert_allclose([after.mean(), after.std()], [before.mean(), before.std()], rtol=1e-6)
    assert values(RandomGamma3D((2, 2), invert_prob=invert, prob=1)(Sample(line(7, 7)))) == [7, 7]


def test_blurring_spreads_a_point_as_a_gaussian():
    # exp(-2 k^2) for k = 0, 1, 2 is 1, 0.13534, 0.00034; the five taps sum to 1.27134.
    blurred = values(RandomBlur3D((0.5, 0.5), prob=1)(Sample(line(0, 0, 1, 0, 0))))
    assert blurred == pytest.approx([0.00026, 0.10645, 0.78657, 0.10645, 0.00026], abs=2e-5)
    assert values(RandomBlur3D(prob=1)(Sample(line(3, 3, 3)))) == pytest.approx([3, 3, 3])


def test_low_resolution_picks_voxels_and_interpolates_them_back():
    coarsen = RandomLowResolution3D((0.5, 0.5), prob=1)
    assert values(coarsen(Sample(line(0, 1, 2, 3)))) == [1, 1.5, 2.5, 3]  # 1 and 3 are picked
    thick = line(0, 1, 2, 3).replace(affine=affine_from_spacing((1, 1, 3)))
    assert values(coarsen(Sample(thick))) == [0, 1, 2, 3]


def test_each_channel_is_coarsened_by_itself():
    coarsen = RandomLowResolution3D((0.25, 1), prob=1)
    image = Volume(np.broadcast_to(np.arange(20, dtype=np.float32), (2, 1, 1, 20)))
    with keyed(SampleKey(0, 0, 0)):  # in which the channels happen to differ, as in most
        first, second = coarsen(Sample(image)).image.array
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    "transform",
    [
        RandomBlur3D(prob=0),
        RandomContrast3D(prob=0),
        RandomGamma3D(prob=0),
        RandomGaussianNoise(1, prob=0),
        RandomLowResolution3D(prob=0),
        RandomScaleShift(prob=0),
    ],
)
def test_what_has_no_chance_does_nothing(transform):
    assert values(transform(Sample(line(1, 2, 4, 8)))) == [1, 2, 4, 8]


def test_clipping_before_normalising():
    transform = ClipNormalize3D(-100, 300, mean=100, std=50)
    assert values(transform(Sample(line(-1000, 150, 3000, dtype=np.int16)))) == [-4, 1, 4]


def test_percentiles_become_0_and_1():
    # Of 0, 1, ..., 200 the percentiles 0.5 and 99.5 are 1 and 199.
    scaled = values(Percentile3D()(Sample(line(*range(201)))))
    assert [scaled[0], scaled[1], scaled[100], scaled[199], scaled[200]] == pytest.approx([0, 0, 0.5, 1, 1])
    known = {"percentile_00_5": (0.0,), "percentile_99_5": (10.0,)}
    assert values(Percentile3D()(Sample(line(5, 20), statistics=known))) == [0.5, 1]
    assert values(Percentile3D(0, 100)(Sample(line(5, 20), statistics=known))) == [0, 1]
    assert values(Percentile3D()(Sample(line(7, 7)))) == [0, 0]


def test_noise_has_the_drawn_spread_and_is_fixed_by_the_draw():
    flat, transform = Volume(np.zeros((1, 30, 30, 30), np.float32)), RandomGaussianNoise(std=0.5)
    noisy = transform.apply(flat, std=0.2, seed=1).array
    assert noisy.std() == pytest.approx(0.2, rel=0.02)
    assert noisy.mean() == pytest.approx(0, abs=0.005)
    np.testing.assert_array_equal(noisy, transform.apply(flat, std=0.2, seed=1).array)
    assert 0 <= transform.draw(Sample(flat), np.random.default_rng(0))["std"] <= 0.5


def test_packing():
    array = np.arange(3, dtype=np.uint8).reshape(1, 1, 1, 3)
    packed = PackVolume()(Sample(Volume(array[..., ::-1]), target=1, name="case 4"))
    assert packed["inputs"].dtype == torch.float32
    assert packed["inputs"].is_contiguous()
    assert packed["inputs"].tolist() == [[[[2, 1, 0]]]]
    assert packed["data_samples"].gt_label.tolist() == [1]
    assert packed["data_samples"].sample_name == "case 4"
    assert "gt_label" not in PackVolume()(Sample(Volume(array)))["data_samples"]


def test_packing_copies_what_a_data_set_may_hold_in_memory():
    array = np.zeros((1, 1, 1, 2), np.float32)
    PackVolume()(Sample(Volume(array)))["inputs"].fill_(9)
    assert not array.any()


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"type": "CenterCrop3D", "size": 0}, "whole number >= 1"),
        ({"type": "CenterCrop3D", "size": (4, 4)}, "three of them"),
        ({"type": "RandomShiftCrop3D", "size": 4, "shift": -1}, "whole number >= 0"),
        ({"type": "Resize3D", "size": 2.5}, "whole number"),
        ({"type": "Pad3D", "size": (None, 0, 4)}, "whole number >= 1"),
        ({"type": "RandomZoom3D", "scale": (2, 1)}, "scale is a range"),
        ({"type": "RandomFlip3D", "axes": "XY"}, "letters of 'DHW'"),
        ({"type": "RandomFlip3D", "prob": 50}, "between 0 and 1"),
        ({"type": "RandomRotate90", "planes": "DHW"}, "two letters"),
        ({"type": "RandomRotate90", "planes": ["DD"]}, "different letters"),
        ({"type": "Normalize3D", "mean": 0, "std": 0}, "std must be positive"),
        ({"type": "Window", "center": 0, "width": -400}, "width must be positive"),
        ({"type": "ZScore", "floor": 0}, "floor must be positive"),
        ({"type": "RandomChannelShuffle", "prob": -0.1}, "between 0 and 1"),
    ],
)
def test_a_wrong_argument_is_refused_when_the_config_is_read(config, complaint):
    with pytest.raises(ValueError, match=complaint):
        TRANSFORMS.build(config)
