"""3D counterparts of timm's layers and networks: the output for equal slices is that for the slice."""

import copy
import importlib.util
import pickle
from pathlib import Path

import pytest
import timm
import torch
from timm.layers import (
    AvgPool2dSame,
    BatchNormAct2d,
    BlurPool2d,
    CecaModule,
    Conv2dSame,
    EvoNorm2dB0,
    EvoNorm2dS0,
    FilterResponseNormTlu2d,
    GroupNormAct,
    LayerNorm2d,
    LayerNormAct2d,
    LayerScale2d,
    MixedConv2d,
    RmsNorm2d,
    ScaledStdConv2d,
    ScaledStdConv2dSame,
    SelectAdaptivePool2d,
    SelectiveKernel,
    SimpleNorm2d,
    SpaceToDepth,
    SplitAttn,
    StdConv2d,
    StdConv2dSame,
)
from timm.layers.cbam import CbamModule
from timm.layers.pool2d_same import MaxPool2dSame
from timm.models._efficientnet_blocks import SqueezeExcite
from torch import Tensor, nn

from vdt3d.models import Convert2d
from vdt3d.models.inflate import ConversionError, to_3d
from vdt3d.models.inflate.functions import PictureFunctionsRefused, VolumeFunctions, least_depth
from vdt3d.models.inflate.modules import exchanged
from vdt3d.models.layers import SafeConv3d

LAYERS = {
    "same conv": lambda: Conv2dSame(4, 6, 3, stride=2),
    "same conv, 5, dilated": lambda: Conv2dSame(4, 6, 5, stride=2, dilation=2),
    "same avg pool": lambda: AvgPool2dSame(2, 2),
    "same max pool": lambda: MaxPool2dSame(3, 2),
    "std conv": lambda: StdConv2d(4, 6, 3, stride=2),
    "std conv, same": lambda: StdConv2dSame(4, 6, 3, stride=2),
    "scaled std conv": lambda: ScaledStdConv2d(4, 6, 3, groups=2),
    "scaled std conv, same": lambda: ScaledStdConv2dSame(4, 6, 3, stride=2),
    "mixed conv": lambda: MixedConv2d(4, 8, [3, 5], stride=2, padding="same", depthwise=False),
    "transposed conv": lambda: nn.ConvTranspose2d(4, 6, 2, 2),
    "blur pool": lambda: BlurPool2d(4),
    "blur pool, zeros": lambda: BlurPool2d(4, 4, pad_mode="constant"),
    "padded avg pool": lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    "small avg pool": lambda: nn.Sequential(nn.MaxPool2d(5), nn.AvgPool2d(3, 1, 1)),
    "norms": lambda: nn.Sequential(LayerNorm2d(4), RmsNorm2d(4), SimpleNorm2d(4), LayerScale2d(4)),
    "norms with activation": lambda: nn.Sequential(
        BatchNormAct2d(4), GroupNormAct(4, num_groups=2), LayerNormAct2d(4), EvoNorm2dS0(4, 2), EvoNorm2dB0(4)
    ),
    "filter response norm": lambda: FilterResponseNormTlu2d(4),
    "squeeze and excitation": lambda: nn.Sequential(SqueezeExcite(4, rd_ratio=1), CecaModule(4), CbamModule(4, 1)),
    "selective kernels": lambda: SelectiveKernel(4, 6, stride=2),
    "split attention": lambda: SplitAttn(4, 6, stride=2, norm_layer=nn.BatchNorm2d),
    "reflected": lambda: nn.ReflectionPad2d((1, 2, 0, 1)),
    "zeros": lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(2, 1)),
    "space to depth": lambda: nn.Sequential(nn.Upsample(scale_factor=4), SpaceToDepth(4)),
    "global pool": lambda: SelectAdaptivePool2d(pool_type="fastavgmax", flatten=True),
    "any pool": lambda: SelectAdaptivePool2d(pool_type="catavgmax"),
}
NETWORKS = [  # the smallest of their families, or of a kind of block
    *("resnet10t", "dla46x_c", "test_nfnet", "resnest14d", "hgnetv2_b0", "inception_next_atto"),
    *("poolformer_s12", "fastvit_t8", "iformer_t", "shvit_s1", "tf_mixnet_s"),
    *("starnet_s1", "mobilenetv4_conv_small", "test_efficientnet_evos", "convnext_zepto_rms"),
    *("dpn48b", "regnety_002", "repvgg_a0", "lcnet_050", "cs3darknet_focus_s", "ese_vovnet19b_dw"),
]


@pytest.fixture(autouse=True, scope="module")
def without_gradients():
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def hide_nothing(flat: nn.Module) -> nn.Module:
    """Give a 2D network scales and statistics that differ from 0 and 1."""
    for each in flat.parameters():
        if each.dim() == 1:
            each.uniform_(0.5, 1.5)
    for module in flat.modules():
        if getattr(module, "running_mean", None) is not None:
            module.running_mean.uniform_(-0.2, 0.2)
        if getattr(module, "running_var", None) is not None:
            module.running_var.uniform_(0.5, 1.5)
    return flat.double().eval()


def stacked(x: Tensor, slices: int) -> Tensor:
    return x.unsqueeze(2).expand(-1, -1, slices, -1, -1)


def assert_every_slice(found: Tensor, expected: Tensor) -> None:
    if found.dim() > expected.dim():
        expected = expected.unsqueeze(2).expand_as(found)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("side", [11, 12])
@pytest.mark.parametrize("how", ["i3d", "centre", "2.5d"])
@pytest.mark.parametrize("name", LAYERS)
def test_equal_slices_for_layers(name, how, side):
    flat = hide_nothing(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), LAYERS[name]()))
    x = torch.rand(2, 3, side, side, dtype=torch.float64)
    if (name, how) == ("transposed conv", "2.5d"):
        with pytest.raises(ConversionError, match="transposed"):
            to_3d(flat, how)
        return
    volume = to_3d(flat, how, depth_padding="replicate")
    assert volume.state_dict().keys() == flat.state_dict().keys()
    assert_every_slice(volume(stacked(x, 9)), flat(x))


@pytest.mark.parametrize("name", NETWORKS)
def test_equal_slices_for_networks(name):
    flat = hide_nothing(timm.create_model(name, pretrained=False))
    x = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    volume = to_3d(flat, "2.5d", depth_padding="replicate")
    assert volume.state_dict().keys() == flat.state_dict().keys()
    found, expected = volume.forward_features(stacked(x, 33)), flat.forward_features(x)
    if found.shape[-1] == expected.shape[-1] > 4:  # channels at the end
        found, expected = found.movedim(-1, 1), expected.movedim(-1, 1)
    assert_every_slice(found, expected)


# ---- by hand ---------------------------------------------------------------------------------------------------------


def ones(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.ones_(layer.weight)
    return layer


def along_depth(volume: nn.Module, *values: float) -> list[float]:
    x = torch.tensor(values).view(1, 1, -1, 1, 1)
    return volume(x).flatten().tolist()


def test_same_padding_puts_the_odd_slice_behind():
    volume = to_3d(ones(Conv2dSame(1, 1, 3, stride=2, bias=False)), "i3d")
    # of 4 slices: 1 2 3 | 3 4 0, a third of each; the one row and column are padded with zeros
    assert along_depth(volume, 1.0, 2.0, 3.0, 4.0) == pytest.approx([2.0, 7 / 3])
    volume = to_3d(ones(Conv2dSame(1, 1, 3, stride=2, bias=False)), "i3d", depth_padding="replicate")
    assert along_depth(volume, 1.0, 2.0, 3.0, 4.0) == pytest.approx([2.0, 11 / 3])


def test_same_pools():
    volume = to_3d(nn.Sequential(ones(nn.Conv2d(1, 1, 1, bias=False)), MaxPool2dSame(2, 2)), "i3d")
    assert along_depth(volume, -3.0, -2.0, -5.0) == [-2.0, -5.0]  # the third has no partner


def test_blur_pool_has_the_coefficients_of_one_axis():
    blur = to_3d(nn.Sequential(ones(nn.Conv2d(1, 1, 1, bias=False)), BlurPool2d(1, 3)), "i3d")
    x = torch.tensor([0.0, 4.0, 8.0, 0.0]).view(1, 1, 4, 1, 1).expand(-1, -1, -1, 2, 2)
    # 1/4, 1/2, 1/4 about slices 0 and 2, the first slice repeated
    assert blur(x).flatten().tolist() == pytest.approx([1.0, 5.0])


def test_standardised_kernels_sum_to_the_flat_ones():
    flat = ScaledStdConv2d(2, 3, 3, padding=1, gamma=1.7)
    flat.gain.uniform_(0.5, 1.5)
    x = torch.zeros(1, 2, 3, 3)
    x[0, 0, 1, 1] = 1  # an impulse: the output is the flipped kernel of the first channel
    expected = flat(x) - flat.bias.view(1, -1, 1, 1)
    for how in ("i3d", "centre", "2.5d"):
        volume = to_3d(flat, how)
        impulse = torch.zeros(1, 2, 3, 3, 3)
        impulse[0, 0, 1, 1, 1] = 1
        found = volume(impulse) - flat.bias.view(1, -1, 1, 1, 1)
        torch.testing.assert_close(found.sum(2), expected)


@pytest.mark.parametrize("name", ["nfnet", "tresnet"])
def test_kernels_that_cannot_be_fitted_read_grey_as_colours(name):
    if name == "nfnet":
        flat = hide_nothing(timm.create_model("test_nfnet", pretrained=False))
    else:
        flat = hide_nothing(timm.models.tresnet.TResNet([1, 1, 1, 1], width_factor=0.25, num_classes=2))
    grey = torch.rand(1, 1, 32, 32, dtype=torch.float64)
    expected = flat.forward_features(grey.expand(-1, 3, -1, -1))
    for channels in (1, 2):
        volume = to_3d(flat, "2.5d", in_channels=channels)
        found = volume.forward_features(stacked(grey.expand(-1, channels, -1, -1), 32))
        assert_every_slice(found, expected)


def test_odd_depths_where_branches_meet():
    module = timm.models.hrnet.HighResolutionModule
    flat = hide_nothing(module(2, timm.models.resnet.BasicBlock, [1, 1], [4, 8], [4, 8], "SUM"))
    wide, deep = torch.rand(1, 4, 8, 8, dtype=torch.float64), torch.rand(1, 8, 4, 4, dtype=torch.float64)
    volume = exchanged(flat, "i3d", depth_padding="replicate")
    expected = flat([wide, deep])
    for found, each in zip(volume([stacked(wide, 9), stacked(deep, 5)]), expected, strict=True):
        assert_every_slice(found, each)


def test_a_gate_of_half_the_resolution():
    flat = hide_nothing(timm.models.ghostnet.GhostModuleV2(4, 6))
    x = torch.rand(1, 4, 8, 8, dtype=torch.float64)
    assert_every_slice(
        to_3d(nn.Sequential(nn.Identity(), flat), "i3d", depth_padding="replicate")(stacked(x, 9)), flat(x)
    )


def test_a_mean_over_two_axes_is_over_three_where_it_was_looked_through():
    x = torch.randn(2, 3, 4, 5, 6)
    with VolumeFunctions("zeros"):
        torch.testing.assert_close(x.mean((2, 3), keepdim=True), x.flatten(2).mean(2).view(2, 3, 1, 1, 1))
        torch.testing.assert_close(x.mean((-1, -2)), x.flatten(2).mean(2))
        assert x.permute(0, 2, 3, 1).shape == (2, 4, 5, 6, 3)
        assert (x * torch.ones(1, 3, 1, 1)).shape == x.shape


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x * torch.ones(1, 4, 1, 1),  # scales slices, of which there are four
        lambda x: torch.ones(4, 1, 1).mul(x),
        lambda x: x.std((2, 3)),
        lambda x: nn.functional.adaptive_avg_pool2d(x, 1),
    ],
)
def test_what_would_be_silently_wrong_is_refused(call):
    with PictureFunctionsRefused(), pytest.raises(ConversionError):
        call(torch.zeros(1, 4, 4, 4, 4))


# ---- whole networks --------------------------------------------------------------------------------------------------


def test_too_few_slices_are_reported_with_the_least():
    backbone = Convert2d("timm.convnext_atto", "2.5d")
    assert len(backbone(torch.zeros(1, 1, 32, 32, 32))) == 4
    network = to_3d(nn.Sequential(nn.Conv2d(1, 2, 3, 2, 1), nn.Conv2d(2, 2, 4, 4)), "i3d")
    with pytest.raises(ValueError, match=r"5 slices .*at least 7"):
        network(torch.zeros(1, 1, 5, 32, 32))
    assert least_depth(network.to("meta"), (1, 1, 8, 32, 32)) is None
    with pytest.raises(RuntimeError):  # torch's own words where depth is not the reason
        to_3d(nn.Conv2d(1, 2, 3), "i3d")(torch.zeros(1, 2, 8, 8, 8))


def test_networks_in_float64_are_converted():
    volume = to_3d(timm.create_model("resnet10t", pretrained=False).double(), "acs", in_channels=1)
    assert {each.dtype for each in volume.parameters()} == {torch.float64}
    assert volume.eval()(torch.zeros(1, 1, 32, 32, 32, dtype=torch.float64)).dtype == torch.float64


def test_a_converted_network_can_be_copied_and_pickled():
    volume = to_3d(timm.create_model("test_convnext", pretrained=False), "i3d").eval()
    x = torch.rand(1, 3, 32, 32, 32)
    for again in (copy.deepcopy(volume), pickle.loads(pickle.dumps(volume))):
        assert type(again) is type(volume)
        assert torch.equal(again(x), volume(x))


def test_acs_keeps_standardised_and_same_kernels():
    flat = nn.Sequential(StdConv2dSame(3, 6, 3, stride=2), Conv2dSame(6, 6, 3, stride=2, groups=6))
    volume = to_3d(flat, "acs")
    assert not any(isinstance(each, SafeConv3d) for each in volume.modules())
    for key, value in volume.state_dict().items():
        assert torch.equal(value, flat.state_dict()[key])
    assert volume(torch.rand(1, 3, 9, 12, 12)).shape == (1, 6, 3, 3, 3)


def test_the_page_of_families_is_what_its_script_writes():
    path = Path(__file__).parents[1] / "docs" / "make_timm_families.py"
    spec = importlib.util.spec_from_file_location("make_timm_families", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = script.PAGE.read_text()
    for name, expected in {
        "test_resnet": "equal",
        "test_nfnet": "equal",
        "mambaout_femto": "equal",
        "test_vit": "'patch_embed' (PatchEmbed)",
        "shvit_s1": "equal",
        "starnet_s1": "equal",
    }.items():
        line = next(line for line in page.splitlines() if f"| {name} |" in line)
        found = script.verdict(script.converted, name)
        assert line.split(" | ")[2] == found
        assert expected in found
