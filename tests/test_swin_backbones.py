"""Swin and Video Swin over windows of slices: torchvision's answers and keys, inflation, names of published files."""

from itertools import product

import pytest
import torch
import torchvision
from published import swin
from torch import Tensor, nn
from torchvision.models.swin_transformer import PatchMerging, SwinTransformer
from torchvision.models.video.swin_transformer import SwinTransformer3d

from vdt3d.models.backbones.swin import Swin3D, VideoSwin
from vdt3d.models.inflate.kernels import inflate_kernel
from vdt3d.models.weights.adapt import adapt, inflate
from vdt3d.models.weights.load import load_weights
from vdt3d.models.weights.recognition import Found
from vdt3d.models.weights.swin_names import torchvision_names

BOTH = pytest.mark.parametrize("kind", [Swin3D, VideoSwin])
TINY = {"embed_dims": 8, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 2, 4), "drop_path_rate": 0.0}
SWIN_B = (2, 2, 18, 2)


def tiny(kind: type, slices: int = 5, **options) -> nn.Module:
    torch.manual_seed(0)
    return kind(window={"slices": slices}, **(TINY | options))


def scattered(network: nn.Module) -> nn.Module:
    """The network with norms and biases that are not those of the start, and larger weights, in eval mode."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return network.eval()


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# ---- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "slices", "parameters"),
    [
        (Swin3D, 1, 86_740_920),
        (Swin3D, 5, 86_749_112),
        (VideoSwin, 5, 87_630_792 - 2 * 1024),  # published, less its unused norm
        (VideoSwin, 1, 87_630_792 - 2 * 1024),
    ],
)
def test_parameters_are_the_published_count(kind, slices, parameters):
    with torch.device("meta"):
        network = kind(window={"slices": slices})
        maps = network(torch.zeros(1, 1, slices, 512, 512))
    assert count(network) == parameters
    assert [tuple(each.shape) for each in maps] == [
        (1, 128, 128, 128),
        (1, 256, 64, 64),
        (1, 512, 32, 32),
        (1, 1024, 16, 16),
    ]
    assert [info.channels for info in network.feature_info] == [128, 256, 512, 1024]
    assert [info.stride for info in network.feature_info] == [(1, 4, 4), (1, 8, 8), (1, 16, 16), (1, 32, 32)]
    assert len({info.name for info in network.feature_info}) == 4


@BOTH
def test_odd_sizes_are_rounded_up_and_gradients_reach_every_parameter(kind):
    network = tiny(kind, in_channels=2)
    maps = network(torch.randn(1, 2, 5, 65, 97))
    # 65 / 4, 8, 16, 32 and 97 / 4, 8, 16, 32, rounded up
    sizes = [(17, 25), (9, 13), (5, 7), (3, 4)]
    assert [tuple(each.shape) for each in maps] == [(1, 8 * 2**stage, *size) for stage, size in enumerate(sizes)]
    assert all(each.is_contiguous() for each in maps)
    sum((each * torch.randn_like(each)).sum() for each in maps).backward()
    starved = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert starved == []


@BOTH
def test_stages_that_are_not_asked_for_are_left_out(kind):
    whole, part = scattered(tiny(kind)), tiny(kind, out_indices=(2, 0)).eval()
    assert load_weights(part, whole.state_dict()).missing == ()
    layers = {int(key.split(".")[1]) for key in part.state_dict() if key.startswith("features.")}
    # three stages and two mergings, behind the stem that Swin has among them
    assert layers == set(range(6 if kind is Swin3D else 5))
    assert [info.name for info in part.feature_info] == ["stage0", "stage2"]
    x = torch.randn(1, 1, 5, 32, 48)
    with torch.no_grad():
        for got, expected in zip(part(x), whole(x)[::2], strict=True):
            assert torch.equal(got, expected)


# ---- Swin ------------------------------------------------------------------------------------------------------------


def inflated(one: nn.Module, how: str) -> nn.Module:
    """A Swin3D of 5 slices with the weights of ``one``, of 1 slice."""
    five = tiny(Swin3D, 5).eval()
    state, stem = one.state_dict(), "features.0.0.weight"
    five.load_state_dict(state | {stem: inflate_kernel(state[stem].squeeze(2), 5, how)})
    return five


def test_centred_it_answers_the_centre_slice():
    one = scattered(tiny(Swin3D, 1))
    five, x = inflated(one, "centre"), torch.randn(2, 1, 5, 65, 97)
    with torch.no_grad():
        for got, expected in zip(five(x), one(x[:, :, 2:3]), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)  # other orders of the same sums


def test_averaged_it_answers_equal_slices_as_the_one():
    one = scattered(tiny(Swin3D, 1))
    five, x = inflated(one, "i3d"), torch.randn(2, 1, 1, 65, 97)
    with torch.no_grad():
        for got, expected in zip(five(x.expand(-1, -1, 5, -1, -1)), one(x), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def torchvisions(kind: type) -> nn.Module:
    """torchvision's network of the tiny widths, for colours."""
    torch.manual_seed(1)
    widths = TINY["embed_dims"], list(TINY["depths"]), list(TINY["num_heads"])
    if kind is Swin3D:
        return scattered(SwinTransformer([4, 4], *widths, [7, 7], num_classes=3))
    return scattered(SwinTransformer3d([2, 4, 4], *widths, [8, 7, 7], num_classes=3))


def stage_outputs(x: Tensor, layers: list[nn.Module]) -> list[Tensor]:
    """The tokens behind the stages, which stand at the even places."""
    outputs = []
    for layer in layers:
        x = layer(x)
        outputs.append(x)
    return outputs[::2]


def test_one_slice_is_answered_as_torchvision_answers_a_grey_picture():
    theirs, ours = torchvisions(Swin3D), tiny(Swin3D, 1).eval()
    shapes = {key: value.shape for key, value in ours.state_dict().items()}
    state, notes = inflate(theirs.state_dict(), shapes, None)
    assert notes == [
        "features.0.0.weight: 3 input channels made 1",
        "1 2D kernels became kernels of one slice",
    ]
    report = load_weights(ours, state)
    assert set(report.left) == {"norm.weight", "norm.bias", "head.weight", "head.bias"}
    assert set(report.missing) == {f"norm{stage}.{name}" for stage in range(4) for name in ("weight", "bias")}
    # Sides of 11 and 9 tokens, then 6 and 5: none of them divides by 7, nor by 2 every time.
    grey = torch.randn(2, 1, 44, 36)
    with torch.no_grad():
        tokens = stage_outputs(theirs.features[0](grey.expand(-1, 3, -1, -1)), list(theirs.features)[1:])
        for got, expected in zip(ours(grey.unsqueeze(2)), tokens, strict=True):
            expected = nn.functional.layer_norm(expected, expected.shape[-1:]).permute(0, 3, 1, 2)  # norm0 at its start
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


# ---- Video Swin ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "tokens", "token"),
    [
        ({"slices": 1}, 1, 0),
        ({"slices": 3}, 2, 0),  # slices 0 1 | 2: the middle one, 1, is in the first
        ({"slices": 5}, 3, 1),  # 0 1 | 2 3 | 4
        ({"slices": 7}, 4, 1),  # 0 1 | 2 3 | 4 5 | 6
        ({"slices": 9}, 5, 2),
        ({"slices": 5, "target": "first"}, 3, 0),
    ],
)
def test_the_token_of_the_answered_slice_is_returned_of_torchvisions(window, tokens, token):
    theirs = torchvisions(VideoSwin)
    ours = VideoSwin(in_channels=3, window=window, **TINY).eval()
    report = load_weights(ours, theirs.state_dict())
    assert (report.missing, set(report.left)) == ((), {"norm.weight", "norm.bias", "head.weight", "head.bias"})
    x = torch.randn(1, 3, window["slices"], 30, 41)
    with torch.no_grad():
        embedded = theirs.patch_embed(x)
        assert embedded.shape == (1, tokens, 8, 11, 8)
        for got, expected in zip(ours(x), stage_outputs(embedded, list(theirs.features)), strict=True):
            assert torch.equal(got, expected[:, token].permute(0, 3, 1, 2))


# ---- training --------------------------------------------------------------------------------------------------------


@BOTH
def test_linear_layers_begin_as_torchvisions(kind):
    network = tiny(kind, embed_dims=32)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network.init_weights()
    linears = [module for module in network.modules() if isinstance(module, nn.Linear)]
    weights = torch.cat([linear.weight.flatten() for linear in linears])
    # PyTorch's default would be uniform, with a deviation of 1 / sqrt(3 n) for n inputs: 0.1 for 32 of them
    assert weights.std().item() == pytest.approx(0.02, rel=0.01)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any(linear.bias.any() for linear in linears if linear.bias is not None)


@BOTH
def test_recomputing_changes_no_gradient(kind):
    gradients, x = [], torch.randn(4, 1, 5, 32, 32)
    for with_cp in (False, True):
        network = tiny(kind, with_cp=with_cp, drop_path_rate=0.5)
        torch.manual_seed(3)  # which blocks are dropped
        sum(each.square().sum() for each in network(x)).backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        assert torch.equal(plain, recomputed)


def test_recomputing_keeps_less():

    def kept(with_cp: bool) -> int:
        network, sizes = tiny(Swin3D, with_cp=with_cp), []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            network(torch.randn(1, 1, 5, 64, 64))
        return sum(sizes)

    assert kept(True) < kept(False) / 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out_indices": (4,)}, r"out_indices=\(4,\): say some of 0 to 3, the stages"),
        ({"out_indices": ()}, r"out_indices=\(\)"),
        ({"num_heads": (1, 2)}, r"num_heads=\(1, 2\): one number for each of the 4 stages"),
        ({"num_heads": (3, 2, 2, 4)}, r"divides its width, one of \[8, 16, 32, 64\]"),
    ],
)
@BOTH
def test_what_cannot_be_is_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**(TINY | options))


# ---- published files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("video", [False, True])
def test_published_names_hit_every_key_of_torchvisions_once(video):
    with torch.device("meta"):
        theirs = torchvision.models.video.swin3d_b() if video else torchvision.models.swin_b()
    expected = {key: tuple(value.shape) for key, value in theirs.state_dict().items() if not key.startswith("head.")}
    prefix = "backbone." if video else ""
    found = Found(None, prefix, renames=torchvision_names(SWIN_B, video=video))
    file = swin(video=video)
    renamed = {found.ours(key).removeprefix(prefix): shape for key, shape in file.items()}
    assert len(renamed) == len(file)
    masks = [key for key in renamed if key.endswith(".attn_mask")]  # which torchvision makes anew
    assert len(masks) == (0 if video else 1 + 1 + 9)
    for key in masks:
        del renamed[key]
    if not video:  # torchvision keeps the index flat
        index = [key for key in renamed if key.endswith("relative_position_index")]
        renamed |= dict.fromkeys(index, (49 * 49,))
    assert renamed == expected


@pytest.mark.parametrize(("kind", "place", "size"), [(Swin3D, 1, (1, 7, 7)), (VideoSwin, 0, (8, 7, 7))])
def test_the_index_of_relative_positions_is_the_published_one(kind, place, size):
    """Of query and key: how far they are apart along D, H and W, from 0, as digits of a number to the base 2 n - 1."""
    tokens = torch.tensor(list(product(*map(range, size))))
    depth, height, width = (tokens[:, None] - tokens[None] + torch.tensor(size) - 1).unbind(-1)
    expected = (depth * 13 + height) * 13 + width  # 13 = 2 * 7 - 1
    for block in tiny(kind).features[place]:
        assert torch.equal(block.attn.relative_position_index.view(expected.shape), expected)


@BOTH
def test_a_published_file_loads_whole(kind):
    """A file of torchvision's tensors under the authors' names, the index of Swin's positions as a square."""
    theirs, video = torchvisions(kind).state_dict(), kind is VideoSwin
    back = {ours: name for name, ours in torchvision_names(TINY["depths"], video=video).items()}
    file = {Found(None, renames=back).ours(key): value for key, value in theirs.items()}
    assert file.keys() != theirs.keys()
    if not video:
        file = {key: value.view(49, 49) if key.endswith("_index") else value for key, value in file.items()}
    network = tiny(kind, in_channels=3).eval()
    adapted = adapt(file, network, how="centre", name="swin.pth")
    report = load_weights(network, adapted.state)
    assert {key.split(".")[0] for key in report.left} == {"norm", "head"}
    assert all(key.startswith("norm") for key in report.missing)  # norm0 to norm3
    for key in set(report.used) - {"features.0.0.weight"}:  # Swin's stem, which has 5 slices now
        assert torch.equal(network.state_dict()[key], theirs[key])


def test_merging_joins_columns_before_rows():
    """The authors' order of the four neighbours: upper left, lower left, upper right, lower right."""
    merging = PatchMerging(1)
    merging.norm = merging.reduction = nn.Identity()
    assert merging(torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 2, 2, 1)).flatten().tolist() == [1, 3, 2, 4]
