"""The ACS convolution is its three convolutions, at any stride, size and grouping."""

import pytest
import torch
import torch.nn.functional as F

from vdt3d.models.layers import ACSConv3d


def in_three(conv: ACSConv3d, x: torch.Tensor, shares: list[int]) -> torch.Tensor:
    """The definition for odd kernels that keep the size: three convolutions of their share of the output channels."""
    weights = conv.weight.split(shares)
    biases = conv.bias.split(shares)
    pad, step, gap = conv.padding[0], (conv.depth_stride, *conv.stride), conv.dilation[0]
    views = [
        (weight.unsqueeze(2 + plane), bias, step, [0 if axis == plane else pad for axis in range(3)])
        for plane, (weight, bias) in enumerate(zip(weights, biases, strict=True))
    ]
    return torch.cat([F.conv3d(x, *view, dilation=[1 if p == 0 else gap for p in view[3]]) for view in views], dim=1)


@pytest.mark.parametrize("size", [(5, 7, 9), (8, 6, 4), (1, 5, 5)])
@pytest.mark.parametrize("stride", [1, 2, (1, 2, 2)])
@pytest.mark.parametrize(("channels", "shares"), [(6, [2, 2, 2]), (7, [3, 2, 2]), (8, [3, 3, 2])])
def test_it_equals_three_separate_convolutions(size, stride, channels, shares):
    torch.manual_seed(0)
    conv, x = ACSConv3d(2, channels, 3, stride, padding=1), torch.randn(1, 2, *size)
    assert torch.allclose(conv(x), in_three(conv, x, shares), atol=1e-6)


def test_dilation():
    torch.manual_seed(0)
    conv, x = ACSConv3d(2, 6, 3, padding=2, dilation=2), torch.randn(1, 2, 6, 7, 8)
    assert torch.allclose(conv(x), in_three(conv, x, [2, 2, 2]), atol=1e-6)


@pytest.mark.parametrize("size", [(5, 7, 9), (6, 8, 11)])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise(size, stride):
    torch.manual_seed(0)
    conv, x = ACSConv3d(7, 7, 3, stride, padding=1, groups=7), torch.randn(1, 7, *size)
    y = conv(x)
    for channel, plane in enumerate([0, 0, 0, 1, 1, 2, 2]):  # seven in 3, 2, 2
        weight = conv.weight[channel].unsqueeze(1 + plane)[None]
        padding = [0 if axis == plane else 1 for axis in range(3)]
        expected = F.conv3d(x[:, channel, None], weight, conv.bias[channel, None], stride, padding)
        assert torch.allclose(y[:, channel, None], expected, atol=1e-6)


@pytest.mark.parametrize("groups", [2, 3, 4])
def test_groups_read_their_own_channels(groups):
    torch.manual_seed(0)
    conv, x = ACSConv3d(12, 24, 3, padding=1, groups=groups), torch.randn(1, 12, 4, 5, 6)
    before, changed = conv(x), x.clone()
    changed[:, : 12 // groups] += 1  # the first group's inputs
    moved = (conv(changed) - before).abs().amax((0, 2, 3, 4)) > 1e-6
    assert moved.tolist() == [channel < 24 // groups for channel in range(24)]


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (4, 4, 0), (3, 1, 0), (3, 2, 0), (2, 2, 1)])
@pytest.mark.parametrize("size", [8, 9, 11])
def test_any_window_gives_the_size_a_cubic_convolution_gives(kernel, stride, padding, size):
    conv, x = ACSConv3d(1, 3, kernel, stride, padding), torch.randn(1, 1, size, size, size)
    assert conv(x).shape == F.conv3d(x, torch.zeros(3, 1, *[kernel] * 3), None, stride, padding).shape


def test_across_its_plane_it_reads_the_middle_of_the_window():
    conv, x = ACSConv3d(1, 3, 3, 3, bias=False), torch.zeros(1, 1, 6, 6, 6)
    torch.nn.init.ones_(conv.weight)
    x[0, 0, 4, 4, 4] = 1  # the middle of the last window of three
    assert conv(x)[0, :, 1, 1, 1].tolist() == [1, 1, 1]
    assert conv(x).sum() == 3


def test_a_kernel_of_one_voxel_is_an_ordinary_convolution():
    torch.manual_seed(0)
    conv, x = ACSConv3d(4, 6, 1, 2), torch.randn(1, 4, 5, 5, 5)
    assert torch.allclose(conv(x), F.conv3d(x, conv.weight.unsqueeze(2), conv.bias, 2), atol=1e-6)


def test_depth_can_be_repeated_at_its_ends():
    conv, ones = ACSConv3d(1, 3, 3, padding=1, bias=False, depth_padding="replicate"), torch.ones(1, 1, 3, 5, 5)
    torch.nn.init.ones_(conv.weight)
    # In the middle of the plane every kernel sees nine ones, at the first slice as well.
    assert conv(ones)[0, :, 0, 2, 2].tolist() == [9, 9, 9]


def test_gradients_reach_all_weights():
    torch.manual_seed(0)
    conv = ACSConv3d(2, 5, 3, 2, padding=1)
    conv(torch.randn(1, 2, 5, 5, 5)).square().sum().backward()
    assert (conv.weight.grad.flatten(1).abs().amax(1) > 0).all()


def test_words_it_does_not_know():
    with pytest.raises(ValueError, match="depth_padding='mirror' is none of zeros, replicate"):
        ACSConv3d(1, 3, 3, depth_padding="mirror")
    with pytest.raises(ValueError, match="padding='same'"):
        ACSConv3d(1, 3, 3, padding="same")
