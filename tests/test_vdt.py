"""The variable dimension transform: colours become slices, and their order bears no colour."""

from collections import Counter

import numpy as np
import pytest
import torch
from mmpretrain.registry import TRANSFORMS as MMPRETRAIN_TRANSFORMS

from vdt3d.transforms import GREY_MEAN, GREY_STD, ColoursToSlices, RandomChannelShuffle, colours_to_slices
from vdt3d.utils.random import SampleKey, keyed

MMPRETRAIN_TRANSFORMS.import_from_location()


def test_the_grey_statistics_are_the_published_ones():
    assert pytest.approx(114.495) == GREY_MEAN
    assert pytest.approx(57.63) == GREY_STD


@pytest.mark.parametrize(
    ("shape", "volume_shape"), [((3, 4, 5), (1, 3, 4, 5)), ((2, 3, 4, 5), (2, 1, 3, 4, 5)), ((9, 4, 5), (1, 9, 4, 5))]
)
def test_channels_become_slices_of_one_channel_without_a_copy(shape, volume_shape):
    picture = torch.arange(np.prod(shape)).reshape(shape)
    volume = colours_to_slices(picture)
    assert volume.shape == volume_shape
    assert volume.data_ptr() == picture.data_ptr()
    assert torch.equal(volume.squeeze(-4), picture)


def test_what_is_no_picture_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 1, 3, 4, 5\)"):
        colours_to_slices(torch.zeros(2, 1, 3, 4, 5))


@pytest.mark.parametrize(("to_rgb", "order"), [(True, [30, 20, 10]), (False, [10, 20, 30])])
def test_packed_pictures_become_volumes_in_the_order_red_green_blue(to_rgb, order):
    blue_green_red = np.full((4, 5, 3), (10, 20, 30), np.uint8)  # as OpenCV reads a picture
    packed = MMPRETRAIN_TRANSFORMS.build({"type": "PackInputs"})({"img": blue_green_red, "gt_label": 2})
    volume = ColoursToSlices(to_rgb=to_rgb)(packed)["inputs"]
    assert (volume.shape, volume.dtype) == ((1, 3, 4, 5), torch.uint8)
    assert volume[0, :, 0, 0].tolist() == order
    assert packed["data_samples"].gt_label.tolist() == [2]


def shuffled(index: int, prob: float = 1.0) -> dict:
    with keyed(SampleKey(seed=0, epoch=0, index=index)):
        return RandomChannelShuffle(prob)({"img": np.tile(np.array([1, 2, 3], np.uint8), (2, 2, 1))})


def test_all_six_orders_are_equally_likely():
    orders = Counter(tuple(shuffled(index)["img"][0, 0].tolist()) for index in range(1200))
    assert len(orders) == 6
    assert max(abs(count - 200) for count in orders.values()) < 52  # four standard deviations of 13


def test_whole_channels_move_and_the_picture_given_stays():
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    result = RandomChannelShuffle()({"img": picture})["img"]
    assert picture.ravel().tolist() == list(range(12))
    channels = [picture[..., channel].tolist() for channel in range(3)]
    assert sorted(result[..., channel].tolist() for channel in range(3)) == channels
    assert result.dtype == np.uint8


def test_it_tells_whether_it_was_at_work():
    at_work = [shuffled(index, prob=0.25)["channel_shuffle"] for index in range(400)]
    assert abs(sum(at_work) - 100) < 35  # four standard deviations of 8.7
    assert set(at_work) == {True, False}
    assert shuffled(0, prob=0)["channel_shuffle"] is False
    assert shuffled(0, prob=0)["img"][0, 0].tolist() == [1, 2, 3]


def test_switching_the_shuffle_off_leaves_crops_and_flips_as_they_were():
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    crop = MMPRETRAIN_TRANSFORMS.build({"type": "RandomResizedCrop", "scale": 16})
    flip = MMPRETRAIN_TRANSFORMS.build({"type": "RandomFlip", "prob": 0.5})
    seen = set()
    for index in range(8):
        results = []
        for pipeline in ([RandomChannelShuffle(), crop, flip], [crop, flip]):
            with keyed(SampleKey(0, 0, index)):
                result = {"img": picture}
                for transform in pipeline:
                    result = transform(result)
                results.append(result)
        with_shuffle, without = results
        np.testing.assert_array_equal(np.sort(with_shuffle["img"], axis=2), np.sort(without["img"], axis=2))
        seen.add((with_shuffle["flip"], *without["img"][0, 0].tolist()))
        assert with_shuffle["flip"] == without["flip"]
    assert len(seen) > 4  # crops and flips do vary
