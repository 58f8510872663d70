"""Networks of timm in 3D: their files fill them, and a stack of equal slices is answered as the picture is."""

from functools import cache, partial

import pytest
import timm
import torch
from timm.layers import EcaModule, EffectiveSEModule, SEModule
from timm.layers.grn import GlobalResponseNorm
from torch import Tensor, nn
from torchvision.ops import Permute

from vdt3d.models import Convert2d, PictureEncoder
from vdt3d.models.inflate import ConversionError, to_3d
from vdt3d.models.inflate.kernels import spread_over_slices
from vdt3d.models.weights.adapt import adapt
from vdt3d.models.weights.load import load_weights

SIDE = 32
NETWORKS = {  # what only a classifier needs: no feature is behind it
    "resnet10t": ("fc.",),
    "mobilenetv3_small_050": ("conv_head.", "classifier."),
    "regnety_002": ("head.",),
    "convnext_atto": ("head.",),  # channels stay in front
    "test_convnext": ("head.",),  # channels go to the end and back
}


@pytest.fixture(autouse=True, scope="module")
def without_gradients():
    with torch.no_grad():
        yield


@cache
def picture() -> Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@cache
def network(name: str) -> nn.Module:
    """A 2D network whose batch norms know the statistics of the picture, in eval mode; no scale of it is small."""
    torch.manual_seed(0)
    found = timm.create_model(name)
    for parameter in found.parameters():
        if parameter.dim() == 1:
            parameter.uniform_(0.5, 1.5)
    for module in found.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5  # of so few values a variance may be next to nothing
    found.train()(picture())
    return found.eval()


def maps(flat: nn.Module) -> list[Tensor]:
    """What timm announces as the features of the picture."""
    found = []
    hooks = [
        flat.get_submodule(info["module"]).register_forward_hook(lambda *words: found.append(words[-1].clone()))
        for info in flat.feature_info
    ]
    flat(picture())
    for hook in hooks:
        hook.remove()
    return found


def farthest(answer: Tensor, expected: Tensor) -> float:
    """The largest difference between any slice of ``answer`` and ``expected``, as a share of the largest value."""
    return float((answer - expected.unsqueeze(2)).abs().max() / expected.abs().max())


@pytest.mark.parametrize("how", ["i3d", "acs", "2.5d"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_of_timm_fills_the_network_in_3d_which_keeps_the_law(name, how):
    flat = network(name)
    backbone = Convert2d(f"timm.{name}", how, in_channels=3, depth_padding="replicate").eval()
    adapted = adapt(flat.state_dict(), backbone, how=how, name="a.pth")
    report = load_weights(backbone, adapted.state, name="a.pth", hint=adapted.hint)
    assert report.missing == ()
    assert report.left == tuple(key for key in flat.state_dict() if key.startswith(NETWORKS[name]))
    features, expected = backbone(picture().unsqueeze(2).expand(-1, -1, SIDE, -1, -1)), maps(flat)
    assert [info.channels for info in backbone.feature_info] == [info["num_chs"] for info in flat.feature_info]
    assert [info.stride for info in backbone.feature_info] == [(info["reduction"],) * 3 for info in flat.feature_info]
    assert [feature.shape[1:] for feature in features] == [(len(m[0]), m.shape[2], *m.shape[2:]) for m in expected]
    if how != "acs":  # which looks along other planes too
        assert max(map(farthest, features, expected)) < 1e-4
        return
    state = flat.state_dict()
    for key, value in backbone.network.state_dict().items():
        assert torch.equal(value.flatten(), state[key].flatten()), key


def test_a_classifier_as_a_whole():
    stack = picture().unsqueeze(2).expand(-1, -1, SIDE, -1, -1)
    answer = to_3d(network("test_convnext"), "centre", depth_padding="replicate")(stack)
    expected = network("test_convnext")(picture())
    assert answer.shape == (2, 1000)
    assert torch.allclose(answer, expected, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize(
    "layer",
    [
        SEModule(8, rd_channels=2, add_maxpool=True),
        EffectiveSEModule(8),
        EcaModule(8),
        GlobalResponseNorm(8, channels_last=False),
        nn.Sequential(Permute([0, 2, 3, 1]), GlobalResponseNorm(8), Permute([0, 3, 1, 2])),
    ],
    ids=["se", "ese", "eca", "grn", "grn, channels last"],
)
def test_attention_over_channels(layer):
    flat = nn.Sequential(nn.Conv2d(3, 8, 1), layer)
    for parameter in layer.parameters():
        parameter.uniform_(0.5, 1.5)
    stack = picture().unsqueeze(2).expand(-1, -1, 5, -1, -1)
    for how in ("i3d", "acs"):  # of 1 x 1 kernels those of ACS are flat as well
        assert farthest(to_3d(flat, how)(stack), flat(picture())) < 1e-5


def test_it_gathers_over_all_slices():
    flat = SEModule(4, rd_channels=2)
    volume = to_3d(nn.Sequential(nn.Conv2d(4, 4, 1), flat), "i3d")[1]
    x = torch.randn(2, 4, 3, 5, 6)
    mean = x.mean((2, 3, 4))
    hidden = torch.relu(mean @ flat.fc1.weight.flatten(1).T + flat.fc1.bias)
    gate = torch.sigmoid(hidden @ flat.fc2.weight.flatten(1).T + flat.fc2.bias)
    torch.testing.assert_close(volume(x), x * gate[:, :, None, None, None])


def test_what_cannot_be_converted_is_named():
    with pytest.raises(
        ConversionError, match=r"'patch_embed' \(PatchEmbed\).*WindowEncoder\(model=\"timm.test_vit\"\)"
    ):
        Convert2d("timm.test_vit")
    with pytest.raises(ConversionError, match=r"MultiQueryAttention2d.*SliceEncoder"):
        Convert2d("timm.mobilenetv4_hybrid_medium")
    with pytest.raises(ValueError, match=r"model='timm.resnet19'"):
        Convert2d("timm.resnet19")


@pytest.mark.parametrize("slices", [3, 5, 7])
@pytest.mark.parametrize("name", NETWORKS)
def test_its_files_fill_encoders_of_slice_windows_which_keep_the_law(name, slices):
    flat = network(name)
    encoder = PictureEncoder(f"timm.{name}", in_channels=slices).eval()
    encoder.fit_input = partial(spread_over_slices, slices=slices, place=slices // 2)
    adapted = adapt(flat.state_dict(), encoder, how=None, name="a.pth")
    assert load_weights(encoder, adapted.state, name="a.pth", hint=adapted.hint).missing == ()
    colours = PictureEncoder(f"timm.{name}").eval()
    load_weights(colours, flat.state_dict(), name="a.pth")
    grey = picture()[:, :1]
    answers = encoder(grey.expand(-1, slices, -1, -1)), colours(grey.expand(-1, 3, -1, -1))
    assert [info.channels for info in encoder.feature_info] == [each.shape[1] for each in answers[0]]
    for found, expected in zip(*answers, strict=True):
        assert float((found - expected).abs().max() / expected.abs().max()) < 1e-4
