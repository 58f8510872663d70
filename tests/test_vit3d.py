"""Transformers over windows: the release's counts, the picture's answers, and files laid out as the published ones."""

import pytest
import torch
from mmseg.models.backbones import BEiT
from torch import Tensor, nn

from vdt3d.models import BEiT3D, ViT3D
from vdt3d.models.weights.adapt import adapt
from vdt3d.models.weights.files import CheckpointError, state_dict_of
from vdt3d.models.weights.load import load_weights
from vdt3d.registry import MODELS

TINY = dict(img_size=32, patch_size=8, embed_dims=16, depth=3, num_heads=2, out_indices=(0, 2))
KINDS = {"BEiT3D": BEiT3D, "ViT3D": ViT3D}


def tiny(kind: str, slices: int = 5, **options) -> nn.Module:
    torch.manual_seed(0)
    return MODELS.build({"type": kind, **TINY, "window": dict(slices=slices), **options}).eval()


def learnt(network: nn.Module) -> nn.Module:
    """With numbers in everything that begins with zeros or ones."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2 if "gamma" in name or "table" in name else 0.05)
    return network


# ---- counts of the release, to the unit ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "slices", "img_size", "count"),
    [
        ("BEiT3D", 1, 512, 85_833_792),
        ("BEiT3D", 5, 512, 86_620_224),
        ("BEiT3D", 5, 320, 86_267_712),
        ("BEiT3D", 5, 240, 86_169_792),
        ("ViT3D", 1, 512, 86_041_344),
        ("ViT3D", 5, 512, 86_827_776),
    ],
)
def test_parameters(kind, slices, img_size, count):
    with torch.device("meta"):
        network = KINDS[kind](img_size=img_size, window=dict(slices=slices))
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    tables = dict(network.named_parameters()).get("blocks.11.attn.relative_position_bias_table")
    side = 2 * img_size // 16 - 1
    assert tables is None or tables.shape == (side**2 + 3, 12)
    assert [info.channels for info in network.feature_info] == [768] * 4
    assert {info.stride for info in network.feature_info} == {(1, 16, 16)}
    assert not set(network.state_dict()) & {"index"}  # which follows from the size


# ---- maps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_maps_of_oblong_windows(kind):
    network = tiny(kind, img_size=(32, 48), in_channels=2, with_image=True)
    windows = torch.randn(2, 2, 5, 32, 48)
    maps = network(windows)
    assert [tuple(each.shape) for each in maps] == [(2, 10, 32, 48), (2, 16, 4, 6), (2, 16, 4, 6)]
    assert torch.equal(maps[0], windows.flatten(1, 2))
    assert [(info.name, info.channels, info.stride[1]) for info in network.feature_info] == [
        ("image", 10, 1),
        ("block0", 16, 8),
        ("block2", 16, 8),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter(kind):
    network = learnt(tiny(kind)).train()
    sum(each.square().sum() for each in network(torch.randn(2, 1, 5, 32, 32))).backward()
    starved = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert starved == []


@pytest.mark.parametrize("kind", KINDS)
def test_recomputed_blocks_give_the_same_gradients(kind):
    windows, found = torch.randn(1, 1, 5, 32, 32), []
    for with_cp in (False, True):
        network = learnt(tiny(kind, with_cp=with_cp)).train()
        network(windows)[-1].square().sum().backward()
        found.append([parameter.grad for parameter in network.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_the_fused_attention_is_the_one_that_can_be_counted(kind):
    network, windows = learnt(tiny(kind)), torch.randn(1, 1, 5, 32, 32)
    fused = network(windows)
    for module in network.modules():
        if hasattr(module, "fused"):
            module.fused = False
    for one, other in zip(fused, network(windows), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_it_starts_as_beit_does():
    network = BEiT3D(**{**TINY, "embed_dims": 64, "num_heads": 4}, window=dict(slices=3))
    for number, block in enumerate(network.blocks, start=1):
        assert block.attn.qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)
        for linear in (block.attn.proj, block.mlp.fc2):
            assert linear.weight.std().item() == pytest.approx(0.02 / (2 * number) ** 0.5, rel=0.05)
        assert (block.gamma_1 == 1).all() and (block.gamma_2 == 1).all()
        assert not block.attn.relative_position_bias_table.any()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (dict(img_size=36), r"windows of \(5, 36, 36\) voxels are not filled by patches of \(5, 8, 8\)"),
        (dict(depth_patch_size=2), r"patches of \(2, 8, 8\)"),
        (dict(out_indices=(1, 3)), "there are the blocks 0 to 2"),
        (dict(out_indices=()), "there are the blocks 0 to 2"),
    ],
)
def test_what_does_not_fit_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        tiny("BEiT3D", **options)


def test_windows_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"windows of \(5, 32, 40\) voxels .* those of \(5, 32, 32\): give img_size"):
        tiny("BEiT3D")(torch.zeros(1, 1, 5, 32, 40))


# ---- the picture's answers -------------------------------------------------------------------------------------------


def flat_twin(kind: str, network: nn.Module) -> nn.Module:
    """The 2D network of the same weights: a window of one slice whose kernel is the sum over depth."""
    flat = tiny(kind, slices=1)
    state = {
        key: value.sum(2, keepdim=True) if value.dim() == 5 else value for key, value in network.state_dict().items()
    }
    flat.load_state_dict(state)
    return flat


def inflated(kind: str, how: str, flat: nn.Module, **options) -> nn.Module:
    network = tiny(kind, **options)
    state = {key: value.squeeze(2) if value.dim() == 5 else value for key, value in flat.state_dict().items()}
    adapted = adapt(state, network, how=how, name="flat.pth")
    report = load_weights(network, adapted.state, min_matched=1.0)
    assert (report.missing, report.unlike) == ((), {}) and report.left == ()
    return network


@pytest.mark.parametrize("kind", KINDS)
def test_centring_is_the_2d_network_on_the_centre_slice(kind):
    flat, windows = learnt(tiny(kind, slices=1)), torch.randn(2, 1, 5, 32, 32)
    network = inflated(kind, "centre", flat)
    for one, other in zip(network(windows), flat(windows[:, :, 2:3]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)  # other orders of the same sums


@pytest.mark.parametrize("kind", KINDS)
def test_averaging_answers_equal_slices_as_the_picture(kind):
    flat, picture = learnt(tiny(kind, slices=1)), torch.randn(2, 1, 1, 32, 32)
    network = inflated(kind, "i3d", flat)
    for one, other in zip(network(picture.expand(-1, -1, 5, -1, -1)), flat(picture), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("how", ["i3d", "centre"])
@pytest.mark.parametrize("thickness", [1, 2])
def test_with_several_tokens_along_depth_equal_slices_are_answered_as_the_picture_was(how, thickness):
    """Where a released loader failed: patches thinner than the window. The class token's share makes it exact."""
    flat, picture = learnt(tiny("BEiT3D", slices=1)), torch.randn(2, 1, 1, 32, 32)
    network = inflated("BEiT3D", how, flat, slices=4, depth_patch_size=thickness)
    assert network.grid == (4 // thickness, 4, 4)
    for one, other in zip(network(picture.expand(-1, -1, 4, -1, -1)), flat(picture), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_map_is_that_of_the_patch_the_answered_slice_lies_in():
    """Six slices in patches of two: slice 6 // 2 = 3 lies in the second; without attention, only that one counts."""
    network = tiny("BEiT3D", slices=6, depth_patch_size=2)
    for block in network.blocks:
        nn.init.zeros_(block.gamma_1)  # no attention
    windows = torch.randn(1, 1, 6, 32, 32)
    changed = windows.clone()
    changed[:, :, [0, 1, 4, 5]] = 0
    torch.testing.assert_close(network(windows)[-1], network(changed)[-1])
    changed[:, :, 3] += 1
    assert not torch.allclose(network(windows)[-1], network(changed)[-1])


def mmsegs_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    words = {
        "blocks.": "layers.",
        "norm1": "ln1",
        "norm2": "ln2",
        "mlp.fc1": "ffn.layers.0.0",
        "mlp.fc2": "ffn.layers.1",
        "patch_embed.proj": "patch_embed.projection",
    }
    named = {}
    for key, value in state.items():
        for ours, theirs in words.items():
            key = key.replace(ours, theirs)
        named[key] = value.squeeze(2) if value.dim() == 5 else value
    return named


def test_it_is_mmsegmentations_beit_but_for_the_stem():
    network = learnt(tiny("BEiT3D", slices=1))
    peer = BEiT(
        img_size=32,
        patch_size=8,
        in_channels=1,
        embed_dims=16,
        num_layers=3,
        num_heads=2,
        out_indices=(0, 2),
        qv_bias=True,
        norm_cfg=dict(type="LN", eps=1e-6),
        final_norm=False,
        init_values=1.0,
    )
    peer.eval()  # which returns nothing
    missing, unexpected = peer.load_state_dict(mmsegs_names(network.state_dict()), strict=False)
    assert unexpected == [] and {key.rpartition(".")[2] for key in missing} <= {"relative_position_index"}
    picture = torch.randn(2, 1, 32, 32)
    for one, other in zip(network(picture.unsqueeze(2)), peer(picture), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


# ---- files laid out as the published ones ----------------------------------------------------------------------------


def published(kind: str, side: int = 3) -> dict[str, Tensor]:
    """Names as in BEiT's and DINO's files, of a network of colours for pictures of ``side`` x ``side`` patches."""
    network = learnt(tiny(kind, slices=1, img_size=8 * side, in_channels=3))
    state = {key: value.squeeze(2) if value.dim() == 5 else value for key, value in network.state_dict().items()}
    if kind == "BEiT3D":
        for number in range(TINY["depth"]):
            state[f"blocks.{number}.attn.relative_position_index"] = network.index
        state |= {"fc_norm.weight": torch.ones(16), "head.weight": torch.ones(21841, 16)}
    return state


def load(network: nn.Module, content: dict, how: str | None = "centre") -> tuple[dict[str, Tensor], object, tuple]:
    adapted = adapt(state_dict_of(content), network, how=how, name="file.pth")
    report = load_weights(network, adapted.state, name="file.pth", min_matched=1.0, hint=adapted.hint)
    return network.state_dict(), report, adapted.notes


def test_beits_file_loads_whole():
    state = published("BEiT3D")
    got, report, notes = load(tiny("BEiT3D"), {"model": state})
    assert (report.missing, report.unlike) == ((), {})
    assert {key.rpartition(".")[2] for key in report.left} == {"relative_position_index", "weight"}
    assert notes[0] == "recognised as: BEiT (embed_dims=16, depth=3, 3 input channels)"
    assert "3 relative_position_bias_table: (28, 2) resized to (52, 2)" in notes
    kernel = got["patch_embed.proj.weight"]
    grey = state["patch_embed.proj.weight"].sum(1, keepdim=True)
    assert kernel.shape == (16, 1, 5, 8, 8)
    torch.testing.assert_close(kernel[:, :, 2], grey)
    assert not kernel[:, :, [0, 1, 3, 4]].any()
    torch.testing.assert_close(kernel.sum(), state["patch_embed.proj.weight"].sum())


def test_channels_share_the_sum_of_the_colours():
    state = published("BEiT3D")
    got, _, _ = load(tiny("BEiT3D", in_channels=4), {"model": state}, how="i3d")
    grey = state["patch_embed.proj.weight"].sum(1)
    for channel in range(4):
        for place in range(5):
            torch.testing.assert_close(got["patch_embed.proj.weight"][:, channel, place], grey / 4 / 5)


def test_the_one_table_of_the_self_supervised_file_goes_to_every_block():
    state = published("BEiT3D", side=4)
    table = torch.randn(52, 2)
    state = {key: value for key, value in state.items() if "relative_position" not in key}
    state |= {"rel_pos_bias.relative_position_bias_table": table, "lm_head.weight": torch.ones(8192, 16)}
    got, report, notes = load(tiny("BEiT3D"), {"model": state})
    assert (report.missing, report.unlike) == ((), {}) and "BEiT with one table of positions" in notes[0]
    for number in range(3):
        assert torch.equal(got[f"blocks.{number}.attn.relative_position_bias_table"], table)


@pytest.mark.parametrize("wrapper", ["", "module.backbone."])
def test_dinos_file_loads_whole(wrapper):
    state = published("ViT3D")
    teacher = {wrapper + key: value for key, value in state.items()}
    student = {key: torch.zeros_like(value) for key, value in teacher.items()}
    got, report, notes = load(tiny("ViT3D"), {"student": student, "teacher": teacher, "epoch": 3})
    assert (report.missing, report.unlike) == ((), {}) and report.left == ()
    assert "1 pos_embed: (1, 10, 16) resized to (1, 17, 16)" in notes
    assert torch.equal(got["pos_embed"][:, 0], state["pos_embed"][:, 0])


def test_a_file_of_another_depth_is_refused_with_what_would_hold_it():
    with pytest.raises(CheckpointError, match=r"(?s)differ in depth: say model\.backbone\.depth=3"):
        adapt(published("BEiT3D"), tiny("BEiT3D", depth=4, out_indices=(3,)), how="centre", name="beit.pth")


def test_a_file_of_the_other_transformer_is_refused():
    with pytest.raises(CheckpointError, match=r"recognised as: ViT"):
        load(tiny("BEiT3D"), published("ViT3D"))
