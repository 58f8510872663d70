"""2D networks as 3D ones: a stack of equal slices is answered as the picture is."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.convnext import CNBlock

from vdt3d.models import Convert2d
from vdt3d.models.backbones.convert2d import with_features
from vdt3d.models.inflate import ConversionError, to_3d
from vdt3d.models.layers import ACSConv3d, SafeConv3d

SIDE = 32
TO_MAPS: dict[str, Callable[[nn.Module], nn.Module]] = {
    # What a classifier calls between its layers, or its size, is left out; the others are taken whole.
    "densenet121": lambda network: network.features,
    "mobilenet_v2": lambda network: network.features,
    "mnasnet0_5": lambda network: network.layers,
    "vgg11_bn": lambda network: network.features,
}
ARCHITECTURES = [
    *("resnet18", "resnet50", "resnext50_32x4d", "densenet121", "vgg11_bn", "efficientnet_b0", "convnext_tiny"),
    *("mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "mnasnet0_5"),
]


@pytest.fixture(autouse=True, scope="module")
def without_gradients():
    with torch.no_grad():
        yield


@cache
def picture() -> Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def stack(slices: int = SIDE) -> Tensor:
    return picture().unsqueeze(2).expand(-1, -1, slices, -1, -1)


@cache
@torch.no_grad()  # the first caller may ask for gradients
def network(name: str) -> nn.Module:
    """A 2D network of full size whose batch norms know the statistics of the picture, in eval mode."""
    torch.manual_seed(0)
    found = TO_MAPS.get(name, nn.Identity())(get_model(name, weights=None))
    for module in found.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5  # of so few values a variance may be next to nothing
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.1)
        if isinstance(module, CNBlock):
            module.layer_scale.fill_(0.5)  # 1e-6 of a fresh one would hide what its block does
    found.train()(picture())
    return found.eval()


def farthest(answer: Tensor, expected: Tensor) -> float:
    """The largest difference between any slice of ``answer`` and ``expected``, as a share of the largest value."""
    if answer.dim() == 5:
        expected = expected.unsqueeze(2)
    return float((answer - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("how", ["i3d", "centre", "2.5d"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_law_for_whole_networks(name, how):
    flat = network(name)
    assert farthest(to_3d(flat, how, depth_padding="replicate")(stack()), flat(picture())) < 1e-4


@pytest.mark.parametrize("how", ["centre", "2.5d"])
@pytest.mark.parametrize("name", ["resnet18", "densenet121", "convnext_tiny"])
def test_the_law_with_zeros_where_nothing_reads_them(name, how):
    flat = network(name)
    assert farthest(to_3d(flat, how)(stack()), flat(picture())) < 1e-4


def test_with_zeros_an_i3d_network_is_far_off():
    flat = network("resnet18")
    assert farthest(to_3d(flat, "i3d")(stack()), flat(picture())) > 0.1


@pytest.mark.parametrize("how", ["i3d", "centre", "acs", "2.5d"])
def test_the_law_for_every_layer_on_interior_slices(how):
    convs = {name: conv for name, conv in network("resnet18").named_modules() if isinstance(conv, nn.Conv2d)}
    volumes = dict(to_3d(network("resnet18"), how).named_modules())
    for name, conv in convs.items():
        x = torch.randn(1, conv.in_channels, 8, 8)
        answer, expected = volumes[name](x.unsqueeze(2).expand(-1, -1, 12, -1, -1)), conv(x)
        edge = 4 // conv.stride[0]  # a kernel of 7 reaches 3 slices over the end
        if how == "acs":  # the axial third sees the picture; the others look along other planes
            axial = conv.out_channels // 3
            answer, expected = answer[:, :axial], expected[:, :axial]
        assert answer[:, :, edge:-edge].shape[2] >= 2
        assert torch.allclose(answer[:, :, edge:-edge], expected.unsqueeze(2), atol=1e-4), name


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_acs_keeps_every_weight_and_statistic(name):
    flat = network(name)
    volume = to_3d(flat, "acs")
    assert all(torch.isfinite(volume(stack(SIDE)[:1])).flatten())
    state, wanted = volume.state_dict(), flat.state_dict()
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[key].flatten(), wanted[key].flatten()) for key in wanted)


@pytest.mark.parametrize("how", ["i3d", "centre", "2.5d"])
def test_kernels_sum_to_the_flat_ones_and_statistics_stay(how):
    flat = network("resnet18").state_dict()
    for key, value in to_3d(network("resnet18"), how).state_dict().items():
        assert torch.allclose(value.sum(2) if value.dim() == 5 else value, flat[key], atol=1e-6), key


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("how", ["i3d", "acs", "2.5d"])
def test_input_channels(how, channels):
    volume = to_3d(network("mobilenet_v3_small"), how, in_channels=channels)
    x = torch.randn(1, 1, 1, 1, SIDE).expand(1, channels, SIDE, SIDE, SIDE)
    grey = to_3d(network("mobilenet_v3_small"), how)(x[:, :1].expand(1, 3, SIDE, SIDE, SIDE))
    assert grey.shape == (1, 1000)
    assert farthest(volume(x), grey) < 1e-4


@pytest.mark.parametrize("how", ["i3d", "acs", "2.5d"])
def test_gradients_flow(how):
    with torch.enable_grad():
        volume = to_3d(network("mobilenet_v3_small"), how).train()
        volume(stack(8)).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in volume.parameters() if p.dim() == 5)


def test_the_2d_network_stays_as_it_was():
    flat = network("resnet18")
    before = {key: value.clone() for key, value in flat.state_dict().items()}
    to_3d(flat, "i3d", in_channels=1)
    assert isinstance(flat.conv1, nn.Conv2d)
    assert all(torch.equal(value, before[key]) for key, value in flat.state_dict().items())


def test_layers_and_their_arguments():
    flat = nn.Sequential(
        nn.Conv2d(3, 4, (3, 5), (1, 2), (1, 2), bias=False),
        nn.InstanceNorm2d(4),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.AvgPool2d(3, 2, 1, count_include_pad=True),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
        nn.Dropout2d(),
        nn.AdaptiveMaxPool2d((2, 3)),
    ).eval()
    volume = to_3d(flat, "i3d", depth_padding="replicate")
    assert volume[0].kernel_size == (3, 3, 5)
    assert volume[0].stride == (1, 1, 2)
    assert volume[6].output_size == (1, 2, 3)
    x = picture()
    assert farthest(volume(x.unsqueeze(2).expand(-1, -1, 9, -1, -1)), flat(x)) < 1e-5


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.ConvTranspose2d(3, 3, 3, 2), r"'1': ConvTranspose2d\(.*kernel_size=\(3, 3\)"),
        (nn.LPPool2d(2, 2), "'1': no 3D counterpart of a .*LPPool2d is known"),
        (nn.Upsample(scale_factor=2, mode="bicubic"), "'1': .*bicubic.* is not known"),
        (nn.Conv2d(3, 3, 3, padding_mode="reflect"), "padding_mode='reflect'"),
        (nn.Conv2d(3, 3, 2, padding="same"), "even kernel"),
    ],
)
def test_an_unknown_layer_is_named(layer, message):
    with pytest.raises(ConversionError, match=message):
        to_3d(nn.Sequential(nn.Conv2d(3, 3, 3), layer), "i3d")


def test_functional_pooling_is_reported():
    with pytest.raises(ConversionError, match=r"DenseNet does not work on volumes: it calls .*adaptive_avg_pool2d"):
        to_3d(get_model("densenet121", weights=None), "i3d")


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean((2, 3), keepdim=True)


def test_an_average_over_two_of_three_axes_is_reported_with_its_place():
    with pytest.raises(ConversionError, match=r"'1' \(Attention\) in Sequential .* mean over axes \(2, 3\)"):
        to_3d(nn.Sequential(nn.Conv2d(3, 4, 3), Attention()), "i3d")


def test_words_it_does_not_know():
    with pytest.raises(ValueError, match=r"how='3d' is none of i3d, centre, acs, 2\.5d"):
        to_3d(nn.Conv2d(1, 1, 3), "3d")
    with pytest.raises(ConversionError, match="has no convolution"):
        to_3d(nn.Linear(1, 1), "i3d")


# ---- as a backbone ---------------------------------------------------------------------------------------------------


def test_features_of_a_torchvision_network():
    backbone = Convert2d("torchvision.resnet18", "acs")
    assert [(info.channels, info.stride[0]) for info in backbone.feature_info] == [
        *((64, 2), (64, 4), (128, 8), (256, 16), (512, 32))
    ]
    keys = torchvision.models.resnet18().state_dict().keys()
    kept = {key.removeprefix("network.") for key in backbone.state_dict()}
    assert kept == {key for key in keys if not key.startswith("fc.")}
    kinds = {type(module) for module in backbone.modules() if isinstance(module, ACSConv3d | SafeConv3d)}
    assert kinds == {ACSConv3d}


@pytest.mark.parametrize("name", ["densenet121", "vgg11", "efficientnet_b0", "convnext_tiny", "regnet_y_400mf"])
def test_features_where_a_classifier_calls_functions(name):
    backbone = Convert2d(f"torchvision.{name}", "2.5d", out_indices=(3,))
    (features,) = backbone.eval()(torch.zeros(1, 1, SIDE, SIDE, SIDE))
    (info,) = backbone.feature_info
    assert features.shape == (1, info.channels, *(SIDE // step for step in info.stride))


def test_a_feature_is_what_no_shortcut_goes_around():
    """A ResNet-50 halves its maps inside a block, behind a first convolution; the features are those between blocks."""
    backbone = Convert2d("torchvision.resnet50", "2.5d")
    assert [(info.channels, info.stride[0]) for info in backbone.feature_info] == [
        *((64, 2), (256, 4), (512, 8), (1024, 16), (2048, 32))
    ]


class Choosing(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.mean() > 0 else x


def test_a_forward_that_depends_on_values_is_reported():
    with pytest.raises(ConversionError, match="the forward of Choosing cannot be followed: symbolically traced"):
        with_features(Choosing(SafeConv3d(3, 4, 3)), 3)


def test_features_of_a_registered_network():
    model = dict(type="mmpretrain.ResNet", depth=18, out_indices=(1, 3))
    backbone = Convert2d(model, "i3d", out_indices=(1,))
    assert [(info.channels, info.stride) for info in backbone.feature_info] == [(512, (32, 32, 32))]
    assert backbone.eval()(torch.zeros(1, 1, 32, 32, 32))[0].shape == (1, 512, 1, 1, 1)


@pytest.mark.parametrize("how", ["i3d", "2.5d"])
def test_a_registered_network_that_returns_scores_is_refused_by_name(how):
    with pytest.raises(ConversionError, match=r"InceptionV3 returns a list of NoneType, Tensor"):
        Convert2d(dict(type="mmpretrain.InceptionV3"), how)
    with pytest.raises(ConversionError, match=r"AlexNet returns sizes \[\(1, 256, 5, 5\)\]"):
        Convert2d(dict(type="mmpretrain.AlexNet"), how)


def test_every_branch_that_reads_the_input_takes_its_channels():
    backbone = Convert2d(dict(type="mmpretrain.RepVGG", arch="A0", out_indices=(0,)), "2.5d", in_channels=2)
    assert {backbone.network.stem.branch_3x3.conv.in_channels, backbone.network.stem.branch_1x1.conv.in_channels} == {2}


def test_networks_that_do_not_exist():
    with pytest.raises(ValueError, match=r"'timm\.NAME' or 'torchvision\.NAME'"):
        Convert2d("torchvision.resnet19")
    with pytest.raises(ValueError, match=r"out_indices=\[7\], but ResNet has the features 0 to 4"):
        Convert2d("torchvision.resnet18", out_indices=(7,))
