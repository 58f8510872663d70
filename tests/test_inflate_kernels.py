"""Kernels of pictures as kernels of volumes, by hand and by their law."""

import pytest
import torch

from vdt3d.models.inflate import fit_input_channels, inflate_kernel

KERNEL = torch.tensor([[[[3.0, 6.0]]]])  # one output, one input, 1 x 2


def test_i3d_repeats_and_divides():
    assert inflate_kernel(KERNEL, 3, "i3d").tolist() == [[[[[1, 2]], [[1, 2]], [[1, 2]]]]]


@pytest.mark.parametrize(("depth", "middle"), [(1, 0), (2, 1), (3, 1), (7, 3)])
def test_centring_puts_zeros_around(depth, middle):
    kernel = inflate_kernel(KERNEL, depth, "centre")[0, 0, :, 0]
    assert kernel[middle].tolist() == [3, 6]
    assert kernel.abs().sum() == 9


@pytest.mark.parametrize("how", ["i3d", "centre"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 7])
def test_a_stack_of_equal_slices_is_answered_as_the_picture(how, depth):
    torch.manual_seed(0)
    weight, picture = torch.randn(4, 3, 5, 5), torch.randn(1, 3, 9, 9)
    stack = picture.unsqueeze(2).expand(-1, -1, depth + 2, -1, -1)
    answer = torch.conv3d(stack, inflate_kernel(weight, depth, how))
    assert answer.shape[2] == 3
    for piece in answer.unbind(2):
        assert torch.allclose(piece, torch.conv2d(picture, weight), atol=1e-4)


def test_the_filling_must_be_named():
    with pytest.raises(ValueError, match="how='acs' does not tell how to fill a kernel of depth 3"):
        inflate_kernel(KERNEL, 3, "acs")


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    ("given", "channels"), [(3, 1), (3, 2), (3, 3), (3, 4), (3, 5), (3, 7), (1, 4), (4, 4), (4, 1), (13, 3), (2, 5)]
)
def test_copies_of_a_grey_image_are_answered_as_before(dims, given, channels):
    torch.manual_seed(0)
    weight, grey = torch.randn(2, given, *[3] * dims), torch.randn(1, 1, *[5] * dims)
    conv = torch.conv2d if dims == 2 else torch.conv3d
    before = conv(grey.repeat(1, given, *[1] * dims), weight)
    fitted = fit_input_channels(weight, channels)
    assert fitted.shape[1] == channels
    assert torch.allclose(conv(grey.repeat(1, channels, *[1] * dims), fitted), before, atol=1e-4)


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        (1, [9]),
        (2, [4.5, 4.5]),  # half of 1 + 2 + 6
        (4, [0.5, 2, 6, 0.5]),  # two take red
        (5, [0.5, 1, 6, 0.5, 1]),
        (7, [1 / 3, 1, 3, 1 / 3, 1, 3, 1 / 3]),
    ],
)
def test_colours_for_other_numbers_of_channels(channels, expected):
    weight = torch.tensor([1.0, 2.0, 6.0]).view(1, 3, 1, 1)
    assert fit_input_channels(weight, channels).flatten().tolist() == pytest.approx(expected)


def test_other_numbers_of_channels_share_their_sum_or_are_taken_by_turns():
    weight = torch.tensor([1.0, 2.0, 6.0, 3.0]).view(1, 4, 1, 1)
    assert fit_input_channels(weight, 1).flatten().tolist() == [12]
    assert fit_input_channels(weight, 3).flatten().tolist() == [4, 4, 4]
    assert fit_input_channels(weight, 6).flatten().tolist() == [0.5, 1, 6, 3, 0.5, 1]


def test_the_mean_is_a_third_of_the_sum():
    weight = torch.tensor([[[[1.0]], [[2.0]], [[6.0]]]])
    assert fit_input_channels(weight, 1).item() == 9
    assert fit_input_channels(weight, 1, "mean").item() == 3


def test_an_unknown_weighting_of_colours_is_refused():
    with pytest.raises(ValueError, match="rgb='median'"):
        fit_input_channels(torch.zeros(1, 3, 3, 3), 1, "median")
