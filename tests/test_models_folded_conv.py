"""The folded convolution against ``Conv3d``: the same results and gradients, by another road."""

import pytest
import torch
from torch import nn

from vdt3d.models import ResNet3D
from vdt3d.models.layers import FoldedConv3d, SafeConv3d

# slices, kernel, stride, padding, dilation along depth; the last kernel does not reach every slice
CASES = [
    (1, 7, 1, 3, 1),
    (2, 7, 2, 3, 1),
    (3, 7, 1, 3, 1),
    (3, 7, 2, 3, 1),
    (3, 3, 1, 1, 1),
    (3, 3, 1, 0, 1),
    (3, 3, 2, 1, 2),
    (6, 3, 2, 2, 2),
    (5, 1, 2, 0, 1),
]


def results(convolve, conv: nn.Conv3d, x: torch.Tensor) -> list[torch.Tensor]:
    """The output and the gradients of input, weight and bias under a fixed, uneven loss."""
    x = x.clone().requires_grad_()
    conv.zero_grad()
    y = convolve(x)
    (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
    return [y.detach(), x.grad, conv.weight.grad, *([] if conv.bias is None else [conv.bias.grad])]


@pytest.mark.parametrize(("slices", "kernel", "stride", "padding", "dilation"), CASES)
@pytest.mark.parametrize("in_channels", [1, 2])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_a_layer_agrees_with_conv3d(slices, kernel, stride, padding, dilation, in_channels, memory_format):
    torch.manual_seed(0)
    plane = {"kernel_size": (kernel, 5, 3), "stride": (stride, 2, 1), "padding": (padding, 2, 0)}
    conv = FoldedConv3d(in_channels, 4, **plane, dilation=(dilation, 1, 2), bias=in_channels == 2)
    conv = conv.to(memory_format=memory_format)
    x = torch.randn(2, in_channels, slices, 11, 12).contiguous(memory_format=memory_format)
    plain = results(lambda x: nn.Conv3d.forward(conv, x), conv, x)
    folded = results(conv.fold, conv, x)
    for ours, theirs in zip(folded, plain, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).norm() <= 1e-5 * theirs.norm()


def test_a_layer_by_hand():
    """Kernel (1, 10, 100) over slices 2, 3 with padding 1: slice 0 is 10 * 2 + 100 * 3, slice 1 is 1 * 2 + 10 * 3."""
    conv = FoldedConv3d(1, 1, (3, 1, 1), padding=(1, 0, 0), bias=False)
    conv.weight.data = torch.tensor([1.0, 10.0, 100.0]).view(1, 1, 3, 1, 1)
    assert conv(torch.tensor([2.0, 3.0]).view(1, 1, 2, 1, 1)).flatten().tolist() == [320, 32]


def test_a_network_agrees_with_the_plain_one():
    torch.manual_seed(0)
    folded = ResNet3D(10, base_channels=4).double()
    plain = ResNet3D(10, base_channels=4, fold_stem=False).double()
    plain.load_state_dict(folded.state_dict())
    pictures = torch.randn(2, 3, 33, 32, dtype=torch.float64)
    outputs = [network(pictures)[0] for network in (folded, plain)]
    assert (outputs[0] - outputs[1]).norm() <= 1e-10 * outputs[1].norm()
    for output in outputs:
        output.square().sum().backward()
    for name, parameter in plain.named_parameters():
        assert (folded.get_parameter(name).grad - parameter.grad).norm() <= 1e-10 * parameter.grad.norm()


def test_what_is_shorter_than_the_kernel_in_depth_alone_is_folded(monkeypatch):
    network, seen = ResNet3D(10, base_channels=4).eval(), []
    fold = FoldedConv3d.fold
    monkeypatch.setattr(FoldedConv3d, "fold", lambda conv, x: seen.append(x.shape[2]) or fold(conv, x))
    for size in ((3, 32, 32), (7, 32, 32), (3, 6, 6)):  # the kernel is 7x7x7
        network(torch.randn(1, 1, *size))
    assert seen == [3]


def test_folding_can_be_switched_off():
    assert type(ResNet3D(10, base_channels=4, fold_stem=False).conv1) is SafeConv3d


def test_what_cannot_be_folded_goes_the_ordinary_road():
    conv, x = FoldedConv3d(2, 2, 3, padding=1, groups=2), torch.randn(1, 2, 3, 4, 4)
    assert torch.equal(conv(x), nn.Conv3d.forward(conv, x))
    with pytest.raises(ValueError, match="without groups"):
        conv.fold(x)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_folding_follows_autocast(half):
    conv, x = FoldedConv3d(1, 4, 7, padding=3, bias=False), torch.randn(1, 1, 3, 8, 8)
    with torch.autocast("cpu", half):
        y = conv.fold(x)
    assert y.dtype == half
    torch.testing.assert_close(y.float(), conv(x), atol=0.05, rtol=0.05)


def test_folding_compiles_to_one_graph():
    conv, x = FoldedConv3d(1, 2, 7, padding=3, bias=False), torch.randn(1, 1, 3, 8, 8)
    torch.testing.assert_close(torch.compile(conv, backend="aot_eager", fullgraph=True)(x), conv(x))


@pytest.mark.parametrize("kind", [FoldedConv3d, SafeConv3d])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "size"),
    [(1, 7, (1, 2, 2), (3, 32, 32)), (1, 7, 1, (5, 16, 16)), (4, 3, 1, (2, 8, 8)), (4, 3, 2, (3, 1, 1))],
)
def test_bfloat16_gradients_are_right_on_short_axes(kind, memory_format, channels, kernel, stride, size):
    """oneDNN's are NaN, garbage, or end the process in these cases."""
    torch.manual_seed(0)
    conv = kind(channels, 16, kernel, stride, kernel // 2, bias=False).to(memory_format=memory_format)
    x = torch.randn(2, channels, *size)
    expected = results(lambda x: nn.Conv3d.forward(conv, x), conv, x)
    with torch.autocast("cpu", torch.bfloat16):
        got = results(conv, conv, x)
    assert got[0].dtype == torch.bfloat16
    for ours, exact in zip(got, expected, strict=True):
        assert (ours - exact).norm() <= 0.01 * exact.norm()
