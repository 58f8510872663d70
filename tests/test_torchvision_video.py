"""torchvision's video networks as backbones: its keys, its answers, its weights for three channels and for one."""

import pytest
import torch
import torchvision.models.video
from torch import nn

from vdt3d.models import TorchvisionVideo
from vdt3d.models.backbones.torchvision_video import ARCHITECTURES
from vdt3d.models.layers.safe_conv import SafeConv3d
from vdt3d.models.weights.adapt import adapt
from vdt3d.models.weights.files import CheckpointError
from vdt3d.models.weights.load import load_weights

ALL = (0, 1, 2, 3, 4)
WIDTHS = (64, 64, 128, 256, 512)


def shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in network.state_dict().items()}


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_keys_shapes_and_strides_are_torchvisions(arch):
    with torch.device("meta"):
        theirs = getattr(torchvision.models.video, arch)(weights=None)
        backbone = TorchvisionVideo(arch, in_channels=3, out_indices=ALL)
        features = backbone(torch.zeros(1, 3, 9, 33, 48))
    published = {key: shape for key, shape in shapes(theirs).items() if not key.startswith("fc.")}
    assert shapes(backbone) == published
    # Stride 2 of the stem in the plane; then layer2 to layer4 stride by 2, mc3's, whose kernels are flat, not in depth.
    depths = (9, 9, 9, 9, 9) if arch == "mc3_18" else (9, 9, 5, 3, 2)
    planes = ((17, 24), (17, 24), (9, 12), (5, 6), (3, 3))
    expected = [(1, width, depth, *plane) for width, depth, plane in zip(WIDTHS, depths, planes, strict=True)]
    assert [tuple(feature.shape) for feature in features] == expected
    plane = (2, 2, 4, 8, 16)
    depth = (1, 1, 1, 1, 1) if arch == "mc3_18" else (1, 1, 2, 4, 8)
    assert [info.stride for info in backbone.feature_info] == list(zip(depth, plane, plane, strict=True))
    assert [info.name for info in backbone.feature_info] == ["stem", "layer1", "layer2", "layer3", "layer4"]


@pytest.fixture(scope="module")
def published() -> nn.Module:
    """torchvision's own network with statistics that are not those of the start."""
    torch.manual_seed(0)
    network = torchvision.models.video.mc3_18(weights=None).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.num_batches_tracked.fill_(7)
    return network


def test_three_channels_are_answered_as_by_torchvision(published):
    backbone = TorchvisionVideo("mc3_18", in_channels=3, out_indices=(0, 4)).eval()
    adapted = adapt(published.state_dict(), backbone, how=None, name="mc3_18.pth")
    report = load_weights(backbone, adapted.state)
    assert (report.missing, report.left) == ((), ("fc.weight", "fc.bias"))
    assert adapted.notes == ("recognised as: torchvision mc3_18 (arch='mc3_18', 3 input channels)",)
    x = torch.randn(1, 3, 2, 24, 24)
    with torch.no_grad():
        stem, last = backbone(x)
        expected = published.stem(x)
        assert torch.equal(stem, expected)
        for layer in (published.layer1, published.layer2, published.layer3, published.layer4):
            expected = layer(expected)
        assert torch.equal(last, expected)
    assert all(isinstance(module, SafeConv3d) for module in backbone.modules() if isinstance(module, nn.Conv3d))


def test_one_channel_is_answered_as_grey_in_three(published):
    backbone = TorchvisionVideo("mc3_18", out_indices=(0,)).eval()
    adapted = adapt(published.state_dict(), backbone, how=None, name="mc3_18.pth")
    assert adapted.notes[-1] == "stem.0.weight: 3 input channels made 1"
    assert load_weights(backbone, adapted.state).missing == ()
    grey = torch.randn(1, 1, 2, 24, 24)
    with torch.no_grad():
        torch.testing.assert_close(backbone(grey)[0], published.stem(grey.expand(-1, 3, -1, -1, -1)))


def test_another_of_the_three_is_refused_by_name(published):
    with torch.device("meta"):
        backbone = TorchvisionVideo("r3d_18")
    with pytest.raises(
        CheckpointError, match=r"recognised as: torchvision mc3_18 .*: say model.backbone.arch='mc3_18'"
    ):
        adapt(published.state_dict(), backbone, how=None, name="a.pth")


def test_bfloat16_training_stays_finite():
    torch.manual_seed(0)
    backbone = TorchvisionVideo("mc3_18", out_indices=(1,))
    with torch.autocast("cpu", torch.bfloat16):
        (feature,) = backbone(torch.randn(2, 1, 2, 16, 16))  # two slices under kernels of three
    feature.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in (*backbone.stem.parameters(), *backbone.layer1.parameters()))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"arch": "r3d_34"}, "'r3d_34' is none of r3d_18, mc3_18"), ({"out_indices": (5,)}, r"say some of 0 \(stem\)")],
)
def test_what_there_is_not_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TorchvisionVideo(**options)
