"""P3D, MP3D and VolumeEncoder: published names, counts and shapes; blocks, slices and conversions by hand."""

import re

import pytest
import torch
from published import KINDS, behind, filled, linear, norm, p3d, resnet, shapes_only
from torch import Tensor, nn

from vdt3d.models import MP3D, P3D, FeatureInfo, ResNet3D, VolumeEncoder
from vdt3d.models.layers.group_transform import FullTransform, GroupTransform
from vdt3d.models.layers.pseudo3d import PseudoBasic, PseudoBottleneck
from vdt3d.models.weights.adapt import adapt
from vdt3d.models.weights.files import CheckpointError
from vdt3d.models.weights.load import LoadReport, load_weights
from vdt3d.registry import MODELS
from vdt3d.utils.memory_format import to_channels_last

BOTH = pytest.mark.parametrize("kind", [P3D, MP3D])
NARROW = {"base_channels": 4, "norm_cfg": {"type": "GN", "num_groups": 2}}
STAGES = ("layer1", "layer2", "layer3", "layer4")
VDT = {"window": {"slices": 3}, "depth_pooling": False, "conversion": "keep3d", "out_indices": (3,)}


def small(kind: type = P3D, depth: int | str = "18ba", slices: int = 9, **options) -> P3D:
    torch.manual_seed(0)
    return kind(depth, **{"window": {"slices": slices}, **NARROW, **options})


def on_meta(kind: type, depth: int | str, **options) -> P3D:
    """A network of full size that holds no memory: enough to count and to follow shapes."""
    with torch.device("meta"):
        return kind(depth, **options)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


# ---- the published networks ------------------------------------------------------------------------------------------


def test_the_table_of_these_tests_is_the_published_one():
    """Rows of the release: 3 tensors of the stem, 4 x 3 of each block, 3 of each shortcut."""
    basic, deep = p3d("18ba"), p3d(63)
    assert len(basic) == 3 + 8 * 12 + 3 * 3 == 108
    assert len(deep) == 3 + 16 * 12 + 4 * 3 == 207
    assert basic["conv1_custom.weight"] == (64, 1, 1, 7, 7)
    assert basic["layer3.0.conv2.weight"] == (256, 128, 3, 1, 1)  # kind B
    assert basic["layer2.0.conv2.weight"] == (128, 128, 3, 1, 1)  # kind C
    assert "layer1.0.downsample.0.weight" not in basic
    assert deep["layer1.0.downsample.0.weight"] == (256, 64, 1, 1, 1)
    assert deep["layer4.2.conv4.weight"] == (2048, 512, 1, 1, 1)
    assert norm("norm1", 64, "gn").items() <= basic.items()


@pytest.mark.parametrize(
    ("kind", "depth", "options", "parameters"),
    [
        (P3D, "18ba", {}, 15_257_536),
        (MP3D, "18ba", {"conversion": "groupconv"}, 15_257_536 + 9 * (64 + 128 + 256 + 512)),
        (P3D, 63, {}, 27_281_728),
        (MP3D, 63, {"conversion": "groupconv"}, 27_281_728 + 9 * (256 + 512 + 1024 + 2048)),
    ],
)
def test_names_shapes_and_parameters_are_the_published_ones(kind, depth, options, parameters):
    """Published in millions: 15.2575, 15.2662, 27.2817, 27.3163."""
    network = on_meta(kind, depth, **options)
    assert shapes_of(network) == p3d(depth, transforms=9 if options else 0)
    assert count(network) == parameters


def test_names_of_the_full_convolutions():
    network = small(MP3D, conversion="conv3d")
    extra = {f"conv3d_all_{stage + 1}.weight": (4 * 2**stage, 4 * 2**stage, 9, 1, 1) for stage in range(4)}
    assert shapes_of(network) == p3d("18ba", width=4) | extra


@pytest.mark.parametrize("depth", ["18ba", 63])
def test_the_kinds_of_blocks_take_turns_as_published(depth):
    network = on_meta(MP3D, depth)
    kinds = " ".join("".join(block.kind for block in getattr(network, stage)) for stage in STAGES)
    assert kinds == KINDS[depth]


@pytest.mark.parametrize(
    ("depth", "blocks", "kind"),
    [
        (18, (2, 2, 2, 2), PseudoBottleneck),
        ("34ba", (3, 4, 6, 3), PseudoBasic),
        (131, (3, 4, 23, 3), PseudoBottleneck),
        (199, (3, 8, 36, 3), PseudoBottleneck),
    ],
)
def test_blocks_of_the_other_depths(depth, blocks, kind):
    network = on_meta(P3D, depth)
    stages = [getattr(network, stage) for stage in STAGES]
    assert tuple(map(len, stages)) == blocks
    assert all(type(block) is kind for stage in stages for block in stage)


@BOTH
@pytest.mark.parametrize(("depth", "widths"), [("18ba", (64, 128, 256, 512)), (63, (256, 512, 1024, 2048))])
def test_maps_of_the_published_networks(kind, depth, widths):
    network = on_meta(kind, depth)
    maps = network(torch.zeros(1, 1, 9, 512, 512, device="meta"))
    assert [tuple(each.shape) for each in maps] == [
        (1, width, side, side) for width, side in zip(widths, (128, 64, 32, 16), strict=True)
    ]
    assert network.feature_info == tuple(
        FeatureInfo(stage, width, (1, stride, stride))
        for stage, width, stride in zip(STAGES, widths, (4, 8, 16, 32), strict=True)
    )


@BOTH
def test_the_stem(kind):
    network = on_meta(kind, "18ba")
    conv, pool = network.conv1_custom, network.max_pool
    assert (conv.kernel_size, conv.stride, conv.padding, conv.bias) == ((1, 7, 7), (1, 2, 2), (0, 3, 3), None)
    slices = {P3D: 1, MP3D: 3}[kind]
    assert (pool.kernel_size, pool.stride, pool.padding) == ((slices, 3, 3), (1, 2, 2), (slices // 2, 1, 1))


def test_strides_are_in_the_plane_and_in_the_first_convolutions():
    """Of a bottleneck in the 1x1x1; of basic blocks in S, and of kind B (layer3.0) in T beside it."""
    deep, basic = on_meta(P3D, 63), on_meta(P3D, "18ba")
    for block, striding in ((deep.layer2[0], "1"), (basic.layer2[0], "1"), (basic.layer3[0], "12")):
        for number in "1234":
            expected = (1, 2, 2) if number in striding else (1, 1, 1)
            assert getattr(block, f"conv{number}").stride == expected
        assert block.downsample[0].stride == (1, 2, 2)
    assert deep.layer1[0].downsample[0].stride == (1, 1, 1)


def test_a_narrow_network_without_stride_in_the_stem():
    network = small(MP3D, 18, stem_stride=False, out_indices=(2, 0), in_channels=2)
    assert network.feature_info == (FeatureInfo("layer1", 16, (1, 1, 1)), FeatureInfo("layer3", 64, (1, 4, 4)))
    assert [tuple(each.shape) for each in network(torch.zeros(1, 2, 9, 9, 12))] == [(1, 16, 9, 12), (1, 64, 3, 3)]
    assert not hasattr(network, "layer4")


# ---- blocks by hand --------------------------------------------------------------------------------------------------


def by_hand(block: nn.Module, weights: dict[str, float | list[float]], x: list[float]) -> list[float]:
    """The answer, without norms, to a column of slices of one pixel; S and 1x1x1 multiply, T is given in full."""
    for name in ("norm_1", "norm_2", "norm_3", "norm_4"):
        setattr(block, name, nn.Identity())
    for name, value in weights.items():
        weight = getattr(block, name).weight.data.zero_()
        if isinstance(value, list):
            weight[0, 0, :, 0, 0] = torch.tensor(value)
        elif weight.shape[-1] == 3:
            weight[0, 0, 0, 1, 1] = value
        else:
            weight[:, 0] = value
    channels = block.conv1.in_channels
    column = torch.tensor(x).view(1, 1, -1, 1, 1).expand(1, channels, -1, 1, 1)
    return block(column)[0, 0, :, 0, 0].tolist()


DOWN = [1.0, 0.0, 0.0]  # T that hands each slice its predecessor: (1, 2, 3) becomes (0, 1, 2)
LESS = [0.0, -1.0, 0.0]  # T whose answers ReLU makes 0


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # S doubles. First unit T(S) = (0, 2, 4), the second of that (0, 0, 4); and the input.
        ("A", [1, 2, 7]),
        # First T + S = (0, 1, 2) + (2, 4, 6); the second of that (0, 2, 5) + (4, 10, 16).
        ("B", [5, 14, 24]),
        # First S + T(S) = (2, 4, 6) + (0, 2, 4); the second of that (4, 12, 20) + (0, 4, 12).
        ("C", [5, 18, 35]),
    ],
)
def test_a_basic_block_by_hand(kind, expected):
    block = PseudoBasic(1, 1, (1, 1, 1), kind, norm_cfg={"type": "BN3d"}, with_cp=False)
    weights = {"conv1": 2.0, "conv2": DOWN, "conv3": 2.0, "conv4": DOWN}
    assert by_hand(block, weights, [1.0, 2.0, 3.0]) == expected


@pytest.mark.parametrize(("kind", "expected"), [("A", [1, 2, 3]), ("B", [5, 10, 15]), ("C", [5, 10, 15])])
def test_sums_are_of_what_relu_leaves(kind, expected):
    """T answers below 0 and adds nothing: A is left with the input, B and C with it and S twice, 4 times as much."""
    block = PseudoBasic(1, 1, (1, 1, 1), kind, norm_cfg={"type": "BN3d"}, with_cp=False)
    assert by_hand(block, {"conv1": 2.0, "conv2": LESS, "conv3": 2.0, "conv4": LESS}, [1.0, 2.0, 3.0]) == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("A", [1, 1.5, 2]),  # T(S) = (0, 2, 4)
        ("B", [0.5, 0.75, 1]),  # T + S = (2, 5, 8)
        ("C", [0.5, 0.5, 0.5]),  # S + T(S) = (2, 6, 10)
    ],
)
def test_a_bottleneck_by_hand(kind, expected):
    """The last 1x1x1 takes a quarter of it away from the input: no ReLU stands between the two."""
    block = PseudoBottleneck(4, 1, (1, 1, 1), kind, norm_cfg={"type": "BN3d"}, with_cp=False)
    assert block.downsample is None
    weights = {"conv1": 1.0, "conv2": 2.0, "conv3": DOWN, "conv4": -0.25}
    assert by_hand(block, weights, [1.0, 2.0, 3.0]) == expected


# ---- slices ----------------------------------------------------------------------------------------------------------


def watched(network: nn.Module, x: Tensor) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    """The maps, and what the stages answered before their volumes were pooled."""
    volumes = []
    for stage in network.stage_names:
        getattr(network, stage).register_forward_hook(lambda module, args, output: volumes.append(output))
    return network(x), volumes


@pytest.mark.parametrize(
    ("slices", "behind_stages"),
    [
        (9, [9, 5, 3, 1]),  # 9, pooled 5, pooled 3, less 2
        (12, [12, 6, 3, 1]),
        (13, [13, 7, 4, 2]),
    ],
)
def test_pooling_along_depth(slices, behind_stages):
    _, volumes = watched(small(slices=slices), torch.randn(1, 1, slices, 32, 32))
    assert [volume.shape[2] for volume in volumes] == behind_stages


def test_pooled_maps_are_of_the_central_slices():
    """Of 9, 5 and 3 slices: the middle of 5 is the greatest of 3, 4, 5; of 3 that of 1, 2, 3; the last of all three."""
    maps, volumes = watched(small(), torch.randn(1, 1, 9, 32, 32))
    expected = [volumes[0][:, :, 3:6].amax(2), volumes[1][:, :, 1:4].amax(2), volumes[2].amax(2), volumes[3][:, :, 0]]
    for each, wanted in zip(maps, expected, strict=True):
        assert torch.equal(each, wanted)


@pytest.mark.parametrize("slices", [1, 3, 8])
def test_a_window_of_which_no_slice_would_be_left_is_refused(slices):
    with pytest.raises(ValueError, match=f"a window of {slices} slices has none left .* takes 9 or more"):
        small(slices=slices)
    small(slices=slices, depth_pooling=False)
    small(slices=slices, out_indices=(0, 1))


def test_nine_slices_unless_another_window_is_given():
    assert P3D("18ba", **NARROW).window.slices == MP3D("18ba", **NARROW).window.slices == 9


@pytest.mark.parametrize(
    ("window", "place"), [({"slices": 5}, 2), ({"slices": 4}, 2), ({"slices": 5, "target": "first"}, 0)]
)
@pytest.mark.parametrize("options", [{"kind": P3D, "depth_pooling": False}, {"kind": MP3D}])
def test_without_pooling_maps_are_of_the_slice_the_window_is_about(window, place, options):
    maps, volumes = watched(small(window=window, **options), torch.randn(1, 1, window["slices"], 32, 32))
    for each, volume in zip(maps, volumes, strict=True):
        assert volume.shape[2] == window["slices"]
        assert torch.equal(each, volume[:, :, place])


# ---- conversions -----------------------------------------------------------------------------------------------------


def test_the_group_transform_by_hand():
    """Two channels of three slices of one pixel, each with weights of its own: nothing of one enters the other."""
    layer = GroupTransform(2, 3, place=1)
    x = torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]).view(1, 2, 3, 1, 1)
    assert layer(x).flatten().tolist() == [2, 20]  # at first the slice asked about
    layer.weight.data = torch.tensor([[1.0, 0.0, 2.0], [0.5, -1.0, 1.0]]).view(2, 3, 1, 1)
    assert layer(x).flatten().tolist() == [1 + 6, 5 - 20 + 30]
    layer.init_weights()
    layer(x).sum().backward()
    assert torch.equal(layer.weight.grad.flatten(), x.flatten())  # what starts as 0 learns too


def test_the_full_convolution_by_hand():
    layer = FullTransform(2, 3, place=0)
    x = torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]).view(1, 2, 3, 1, 1)
    assert layer(x).flatten().tolist() == [1, 10]
    layer.weight.data.zero_()[0, :, 2] = 1.0  # the first channel: both channels of the last slice
    assert layer(x).flatten().tolist() == [33, 0]


@pytest.mark.parametrize("options", [{"kind": P3D}, {"kind": MP3D}, {"kind": MP3D, "window": {"target": "first"}}])
@pytest.mark.parametrize("conversion", ["groupconv", "conv3d"])
def test_conversions_start_as_the_slice_alone(conversion, options):
    plain, other = (small(**options, conversion=name) for name in ("center_crop", conversion))
    plain.init_weights(), other.init_weights()
    other.load_state_dict(plain.state_dict(), strict=False)
    window = torch.randn(2, 1, plain.window.slices, 32, 32)
    for wanted, got in zip(plain.eval()(window), other.eval()(window), strict=True):
        torch.testing.assert_close(got, wanted)


def test_transforms_of_pooled_volumes_take_what_is_left():
    network = small(conversion="groupconv")
    assert [getattr(network, f"groupconv_{stage}").weight.shape[1] for stage in (1, 2, 3, 4)] == [5, 3, 1, 1]


def test_volumes_are_kept_of_any_number_of_slices():
    network = small(**VDT)
    for slices in (3, 5):
        (volume,) = network(torch.randn(1, 1, slices, 32, 64))
        assert volume.shape == (1, 32, slices, 1, 2)
    assert network.feature_info == (FeatureInfo("layer4", 32, (1, 32, 32)),)


def test_transforms_go_by_the_stage_not_by_its_channels():
    """Stages 1 and 3 alone, and a backbone whose features have equal channels."""
    network = small(MP3D, out_indices=(0, 2), conversion="groupconv")
    assert {name for name in network.state_dict() if "group" in name} == {"groupconv_1.weight", "groupconv_3.weight"}
    network = VolumeEncoder(resnet3d(unet_features=True), conversion="groupconv")
    assert shapes_of(network)["groupconv_stem.weight"] == shapes_of(network)["groupconv_1.weight"] == (4, 5, 1, 1)


# ---- wrong options ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": "18"}, "depth='18' is none of 18, 18ba, 34ba, 63, 131, 199"),
        ({"conversion": "mean"}, "conversion='mean' is none of center_crop, groupconv, conv3d, keep3d"),
        ({"out_indices": (4,)}, "out_indices=(4,): say some of 0 to 3"),
        ({"out_indices": ()}, "out_indices=(): say some of 0 to 3"),
        ({"frozen_stages": 3, "out_indices": (0, 1)}, "frozen_stages=3 is none of -1, 0, 1, 2"),
        (
            {"norm_cfg": None, "base_channels": 16},
            "base_channels=16 are not 32 equal groups: say norm_cfg=dict(type='GN'",
        ),
        ({"norm_cfg": {"type": "GN"}, "base_channels": 48}, "num_groups=16), another number that divides them, or"),
        ({"conversion": "keep3d"}, "conversion='keep3d' keeps all slices: say depth_pooling=False"),
        ({"window": {"slices": 9, "target": "first"}}, "answers the central slice, not target='first'"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        small(**options)


@pytest.mark.parametrize("conversion", ["center_crop", "groupconv"])
def test_windows_of_another_number_of_slices_are_refused(conversion):
    with pytest.raises(ValueError, match="a window of 5 slices for a network of 9"):
        small(MP3D, conversion=conversion)(torch.zeros(1, 1, 5, 32, 32))


# ---- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("norm_cfg", "kind"),
    [
        ({"type": "GN", "num_groups": 2}, nn.GroupNorm),
        ({"type": "BN"}, nn.BatchNorm3d),
        ({"type": "SyncBN"}, nn.SyncBatchNorm),
    ],
)
def test_kinds_of_norm(norm_cfg, kind):
    network = small(norm_cfg=norm_cfg)
    norms = [module for name, module in network.named_modules() if re.search(r"norm_?\d$|downsample\.1$", name)]
    assert len(norms) == 1 + 8 * 4 + 3
    assert all(isinstance(module, kind) for module in norms)


@pytest.mark.parametrize("options", [{"conversion": "center_crop"}, {"conversion": "groupconv"}, {"depth": 18}])
def test_gradients_reach_every_parameter_through_pooling(options):
    network = small(**options)
    network.init_weights()
    sum((each * torch.randn_like(each)).sum() for each in network(torch.randn(2, 1, 9, 64, 64))).backward()
    starved = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert starved == []


def test_initialisation_from_scratch():
    network = small(base_channels=16, conversion="groupconv")
    network.init_weights()
    for conv, fan_out in ((network.conv1_custom, 16 * 49), (network.layer4[1].conv2, 128 * 3)):
        # Kaiming draws from a normal of variance 2 / fan_out.
        assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
    assert (network.layer4[1].norm_4.weight == 1).all()  # no block starts as the identity
    assert network.groupconv_1.weight.flatten(1).unique(dim=0).tolist() == [[0, 0, 1, 0, 0]]


@BOTH
def test_frozen_stages_do_not_learn(kind):
    network = small(kind, frozen_stages=1, norm_eval=True, norm_cfg={"type": "BN"})
    assert network.train() is network
    assert not network.layer1.training and network.layer2.training and not network.layer2[0].norm_1.training
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1.0)
    sum(each.square().sum() for each in network(torch.randn(2, 1, 9, 32, 32))).backward()
    optimizer.step()
    same = {name for name, tensor in network.state_dict().items() if torch.equal(tensor, before[name])}
    frozen = {name for name in before if name.split(".")[0] in ("conv1_custom", "norm1", "layer1")}
    assert same == frozen | {name for name in before if re.search("running|tracked", name)}


@pytest.mark.parametrize("norm_cfg", [NARROW["norm_cfg"], {"type": "BN"}])
def test_checkpointing_changes_neither_results_nor_statistics(norm_cfg):
    plain, thrifty = small(norm_cfg=norm_cfg), small(norm_cfg=norm_cfg, with_cp=True)
    windows = torch.randn(2, 1, 9, 32, 32)
    expected, got = plain(windows), thrifty(windows)
    for each, wanted in zip(got, expected, strict=True):
        torch.testing.assert_close(each, wanted)
    for maps in (expected, got):
        sum(each.square().sum() for each in maps).backward()
    for name, parameter in thrifty.named_parameters():
        torch.testing.assert_close(parameter.grad, plain.get_parameter(name).grad)
    for name, buffer in thrifty.named_buffers():
        torch.testing.assert_close(buffer, plain.get_buffer(name))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("options", [{"conversion": "groupconv"}, VDT])
def test_bfloat16_trains(channels_last, options):
    """Where pooling leaves one slice under T, and with the three slices of photographs, whose last maps are a pixel."""
    network = small(**options)
    network.init_weights()
    if channels_last:
        to_channels_last(network)
    with torch.autocast("cpu", torch.bfloat16):
        maps = network(torch.randn(4, 1, network.window.slices, 32, 32))
    sum((each.float() * torch.randn_like(each.float())).sum() for each in maps).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name


# ---- checkpoints -----------------------------------------------------------------------------------------------------


def load(model: nn.Module, state: dict[str, Tensor]) -> LoadReport:
    adapted = adapt(state, model, how=None, name="a.pth")
    return load_weights(model, adapted.state, name="a.pth", hint=adapted.hint)


class Detector(nn.Module):
    """As much of a detector as a checkpoint is loaded into."""

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone, self.roi_head = backbone, nn.Linear(1, 1)


@BOTH
@pytest.mark.parametrize("prefix", ["backbone.", "module.backbone."])
def test_a_published_file_is_loaded(kind, prefix):
    """Of COCO, by its prefixes, with the parts behind the backbone; the group transforms are not in it."""
    state = filled(behind(prefix, p3d("18ba", width=4)) | {"neck.lateral_convs.0.conv.weight": (8, 4, 1, 1)})
    model = Detector(small(kind, conversion="groupconv"))
    report = load(model, state)
    for name in p3d("18ba", width=4):
        assert torch.equal(model.backbone.state_dict()[name], state[prefix + name])
    assert report.left == ("neck.lateral_convs.0.conv.weight",)
    assert set(report.missing) == {f"backbone.groupconv_{stage}.weight" for stage in (1, 2, 3, 4)} | {
        "roi_head.weight",
        "roi_head.bias",
    }
    assert model.backbone.groupconv_4.weight[0].flatten().tolist() == ([1] if kind is P3D else [0] * 4 + [1] + [0] * 4)


@pytest.mark.parametrize("depth", ["18ba", 63])
def test_published_files_of_full_size_fit(depth):
    model = Detector(on_meta(MP3D, depth, conversion="groupconv")).to("meta")
    report = load(model, shapes_only(behind("backbone.", p3d(depth, transforms=9))))
    assert [name for name in report.missing if name.startswith("backbone.")] == []
    assert report.left == ()


@pytest.mark.parametrize("options", [{"kind": P3D}, {"kind": MP3D, "conversion": "groupconv"}])
def test_a_network_pre_trained_on_photographs_goes_on_as_a_detectors(options):
    classifier = MODELS.build(
        dict(
            type="VolumeClassifier",
            backbone=dict(type="P3D", depth="18ba", **VDT, **NARROW),
            neck=dict(type="GlobalAveragePooling", dim=3),
            head=dict(type="LinearClsHead", num_classes=10),
        )
    )
    assert classifier.extract_feat(torch.randn(2, 1, 3, 32, 32))[0].shape == (2, 32)
    model = Detector(small(**options))
    report = load(model, classifier.state_dict())
    assert report.left == ("head.fc.weight", "head.fc.bias")
    got = model.backbone.state_dict()
    assert all(torch.equal(got[name], value) for name, value in classifier.backbone.state_dict().items())


def test_a_file_of_another_network_is_refused_with_the_remedy():
    model = Detector(small())
    with pytest.raises(CheckpointError, match=r"differ in depth: say model\.backbone\.depth=63, or"):
        load(model, shapes_only(p3d(63, width=4)))
    with pytest.raises(CheckpointError, match=r"norm_cfg\.type: say model\.backbone\.norm_cfg\.type='BN', or"):
        load(model, shapes_only(p3d("18ba", width=4, kind="bn")))
    with pytest.raises(CheckpointError, match=r"differ in type: say model\.backbone\.type='ResNet3D'"):
        load(model, shapes_only(resnet(18)))
    with pytest.raises(CheckpointError, match=r"say model\.backbone\.type='P3D' model\.backbone\.depth='18ba' "):
        load(Detector(ResNet3D(10, base_channels=4)), shapes_only(p3d("18ba", width=4)))


@pytest.mark.parametrize("conversion", ["conv3d", "center_crop"])
def test_a_file_with_another_conversion_gives_all_but_that(conversion):
    state = filled(p3d("18ba", width=4, transforms=9))
    report = load(small(MP3D, conversion=conversion), state)
    assert len(report.used) == 108
    assert report.left == tuple(f"groupconv_{stage}.weight" for stage in (1, 2, 3, 4))


def test_three_slices_of_a_transform_are_no_colours():
    state = filled(p3d("18ba", width=4, transforms=3))
    network = small(MP3D, conversion="groupconv")
    adapted = adapt(state, network, how=None, name="a.pth")
    assert adapted.state["groupconv_1.weight"] is state["groupconv_1.weight"]
    assert not any("channels made" in note or "resized" in note for note in adapted.notes)
    assert tuple(load(network, state).unlike) == tuple(f"groupconv_{stage}.weight" for stage in (1, 2, 3, 4))


# ---- a backbone of volumes -------------------------------------------------------------------------------------------


def resnet3d(**options) -> dict:
    return {"type": "ResNet3D", "depth": 10, "base_channels": 4, "out_indices": (0, 1, 2, 3), **options}


def test_a_volume_encoder_answers_the_slice_of_its_backbones_volumes():
    torch.manual_seed(0)
    encoder = VolumeEncoder(resnet3d(), window={"slices": 5}).eval()
    window = torch.randn(1, 1, 5, 32, 32)
    for each, volume in zip(encoder(window), encoder.backbone(window), strict=True):
        assert torch.equal(each, volume[:, :, 2])
    assert encoder.feature_info == encoder.backbone.feature_info


def test_a_volume_encoder_takes_the_checkpoints_of_its_backbone():
    shapes = resnet(10, width=4)
    state = filled(behind("backbone.", shapes) | linear("head.fc", 10, 32))
    model = Detector(VolumeEncoder(resnet3d(), conversion="groupconv", window={"slices": 9}))
    load(model, state)
    got = model.backbone.backbone.state_dict()
    assert all(torch.equal(got[name], state[f"backbone.{name}"]) for name in shapes)
    with pytest.raises(CheckpointError, match=r"differ in depth: say model\.backbone\.backbone\.depth=18, or"):
        load(model, shapes_only(resnet(18, width=4)))


def test_a_backbone_that_strides_along_depth_is_refused():
    with pytest.raises(ValueError, match=r"ResNet3D has fewer slices than its input in layer1, .*depth_stride=False"):
        VolumeEncoder(resnet3d(depth_stride=True))
