"""ResNet3D: names, counts and shapes of the released networks, and that each option does what it says."""

import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from torch import nn

from vdt3d.models import FeatureInfo, ResNet3D
from vdt3d.models.layers.residual import PaddedShortcut
from vdt3d.registry import MODELS

BN = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def small(**options) -> ResNet3D:
    return ResNet3D(10, base_channels=4, **options)


def on_meta(depth: int, **options) -> ResNet3D:
    """A network of full size that holds no memory: enough to count and to follow shapes."""
    with torch.device("meta"):
        return ResNet3D(depth, **options)


def table_of_resnet18() -> dict[str, tuple[int, ...]]:
    """The state dict of the released ResNet3D-18: 20 convolutions, 20 batch norms of 5 entries."""
    shapes = {"conv1.weight": (64, 1, 7, 7, 7)} | norm("bn1", 64)
    for stage, (before, width) in enumerate(((64, 64), (64, 128), (128, 256), (256, 512)), 1):
        for block in range(2):
            first = before if block == 0 else width
            shapes[f"layer{stage}.{block}.conv1.weight"] = (width, first, 3, 3, 3)
            shapes[f"layer{stage}.{block}.conv2.weight"] = (width, width, 3, 3, 3)
            shapes |= norm(f"layer{stage}.{block}.bn1", width) | norm(f"layer{stage}.{block}.bn2", width)
        if stage > 1:
            shapes[f"layer{stage}.0.downsample.0.weight"] = (width, before, 1, 1, 1)
            shapes |= norm(f"layer{stage}.0.downsample.1", width)
    return shapes


def norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{entry}": () if entry == "num_batches_tracked" else (channels,) for entry in BN}


@pytest.mark.parametrize(
    ("depth", "options", "count"),
    [(18, {}, 33_160_000), (50, {}, 46_155_072), (18, {"deep_stem": True}, 33_221_984)],
)
def test_parameter_counts(depth, options, count):
    assert sum(parameter.numel() for parameter in on_meta(depth, **options).parameters()) == count


@pytest.mark.parametrize(("depth", "blocks"), [(10, 4), (34, 16), (101, 33), (152, 50), (200, 66)])
def test_number_of_blocks(depth, blocks):
    network = on_meta(depth, base_channels=4)
    assert sum(len(getattr(network, name)) for name in ("layer1", "layer2", "layer3", "layer4")) == blocks


def test_the_registry_builds_the_released_network():
    network = MODELS.build({"type": "ResNet3D", "depth": 18, "in_channels": 1})
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == table_of_resnet18()
    assert len(network.state_dict()) == 120
    assert isinstance(network.bn1, nn.BatchNorm3d)


def test_older_files_have_a_shortcut_in_layer1():
    extra = on_meta(18, force_downsample=True).state_dict().keys() - table_of_resnet18().keys()
    assert extra == {"layer1.0.downsample.0.weight"} | norm("layer1.0.downsample.1", 64).keys()


def test_names_of_the_deep_stem():
    state = on_meta(18, deep_stem=True).state_dict()
    shapes = [(32, 1, 3, 3, 3), (32, 32, 3, 3, 3), (64, 32, 3, 3, 3)]
    assert [tuple(state[f"stem.{i}.conv.weight"].shape) for i in range(3)] == shapes
    stem_keys = {f"stem.{i}.conv.weight" for i in range(3)} | {f"stem.{i}.bn.{entry}" for i in range(3) for entry in BN}
    assert state.keys() - table_of_resnet18().keys() == stem_keys
    assert "conv1.weight" not in state


LIDC = {"depth_stride": True, "stem_stride": False, "strides": (1, 2, 1, 2)}
UNET = {"depth_stride": True, "unet_features": True}
ROWS = {
    "pre-train R18": (18, {}, (1, 3, 224, 224), "64,3,112,112 64,3,56,56 128,3,28,28 256,3,14,14 512,3,7,7"),
    "pre-train R50": (50, {}, (1, 3, 224, 224), "64,3,112,112 256,3,56,56 512,3,28,28 1024,3,14,14 2048,3,7,7"),
    "deep stem": (
        18,
        {"deep_stem": True},
        (1, 3, 224, 224),
        "64,3,112,112 64,3,56,56 128,3,28,28 256,3,14,14 512,3,7,7",
    ),
    "LIDC classification": (
        18,
        {"depth_stride": True},
        (1, 48, 48, 48),
        "64,24,24,24 64,12,12,12 128,6,6,6 256,3,3,3 512,2,2,2",
    ),
    "LIDC without stem stride; ResNet3DNoStemStride": (
        18,
        LIDC,
        (1, 48, 48, 48),
        "64,48,48,48 64,48,48,48 128,24,24,24 256,24,24,24 512,12,12,12",
    ),
    "StdUNet": (
        18,
        {**UNET, "stem_stride": False, "stem_pool": True},
        (1, 32, 256, 256),
        "64,32,256,256 64,16,128,128 128,8,64,64 256,4,32,32 512,2,16,16",
    ),
    "UNet": (18, UNET, (1, 32, 256, 256), "64,16,128,128 64,8,64,64 128,4,32,32 256,2,16,16 512,1,8,8"),
    "ResNet3DSeg": (
        18,
        {**UNET, "stem_pool": False},
        (1, 32, 256, 256),
        "64,16,128,128 64,16,128,128 128,8,64,64 256,4,32,32 512,2,16,16",
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_feature_shapes_of_the_release(row):
    """The rows of reference/vdt.md 1.5, the stem first; full size, on the meta device."""
    depth, options, size, expected = ROWS[row]
    network = on_meta(depth, out_indices=(0, 1, 2, 3), **{"unet_features": True, **options})
    features = network(torch.empty(1, *size, device="meta"))
    assert " ".join(",".join(map(str, feature.shape[1:])) for feature in features) == expected


def test_strides_announced_with_and_without_depth():
    assert on_meta(18).feature_info == (FeatureInfo("layer4", 512, (1, 32, 32)),)
    assert on_meta(50, out_indices=(3, 1), **UNET).feature_info == (
        FeatureInfo("stem", 64, (2, 2, 2)),
        FeatureInfo("layer2", 512, (8, 8, 8)),
        FeatureInfo("layer4", 2048, (32, 32, 32)),
    )


def test_the_colours_of_a_picture_are_read_as_slices():
    network, pictures = small().eval(), torch.randn(2, 3, 32, 32)
    assert torch.equal(network(pictures)[0], network(pictures[:, None])[0])
    with pytest.raises(RuntimeError, match=r"input\[2, 1, 3, 32, 32\] to have 3 channels, but got 1 channels"):
        small(in_channels=3)(pictures)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 20}, "depth=20 is none of 10, 18, 34, 50, 101, 152, 200"),
        ({"shortcut_type": "C"}, "shortcut_type='C' is none of A, B"),
        ({"style": "tf"}, "style='tf' is none of pytorch, caffe"),
        ({"out_indices": (4,)}, "out_indices=4 is none of 0, 1, 2, 3"),
        ({"num_stages": 2}, "out_indices=3 is none of 0, 1"),
        ({"frozen_stages": 5}, "frozen_stages=5 is none of -1, 0, 1, 2, 3, 4"),
        ({"strides": (1, 2)}, "strides has 2 entries for 4 stages"),
        ({"shortcut_type": "A", "avg_down": True}, "shortcut_type='A' has no convolution"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        ResNet3D(**{"depth": 10, **options})


def test_shortcut_a_by_hand():
    x = torch.arange(8.0).view(1, 1, 2, 2, 2).requires_grad_()
    y = PaddedShortcut(out_channels=3, stride=(1, 2, 2))(x)
    assert y.flatten().tolist() == [0, 4, 0, 0, 0, 0]  # voxel (0, 0) of both slices, then two channels of zeros
    y.sum().backward()
    assert x.grad.flatten().tolist() == [1, 0, 0, 0, 1, 0, 0, 0]


def test_shortcut_a_has_no_parameters_and_passes_gradients():
    network = small(shortcut_type="A")
    assert not any("downsample" in name for name in network.state_dict())
    network.init_weights()  # blocks start as identities, so only shortcuts lead back to the stem
    network(torch.randn(2, 3, 32, 32))[0].square().sum().backward()
    assert network.conv1.weight.grad.abs().sum() > 0


def test_avg_down_averages_and_skips_nothing():
    pool, conv, _ = small(avg_down=True).layer2[0].downsample
    assert pool(torch.arange(4.0).view(1, 1, 1, 2, 2)).item() == 1.5
    assert conv.stride == (1, 1, 1)
    pool, *_ = small(avg_down=True, depth_stride=True).layer2[0].downsample
    assert pool(torch.arange(4.0).view(1, 1, 1, 2, 2)).tolist() == [[[[[1.5]]]]]  # one slice under a kernel of two


def test_style_places_the_stride():
    for style, strides in (("pytorch", [(1, 1, 1), (1, 2, 2)]), ("caffe", [(1, 2, 2), (1, 1, 1)])):
        block = on_meta(50, style=style).layer2[0]
        assert [block.conv1.stride, block.conv2.stride] == strides


def test_dilation_keeps_the_size():
    network = small(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
    assert network.layer4[0].conv1.dilation == (4, 4, 4)
    assert network(torch.randn(2, 1, 3, 32, 32))[0].shape == (2, 32, 3, 4, 4)


@pytest.mark.parametrize("frozen", [0, 2])
@pytest.mark.parametrize("deep_stem", [False, True])
def test_frozen_stages_do_not_learn(frozen, deep_stem):
    network = small(frozen_stages=frozen, deep_stem=deep_stem)
    assert network.train() is network
    parts = ("stem",) if deep_stem else ("conv1", "bn1")
    parts += ("layer1", "layer2")[:frozen]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1.0)
    network(torch.randn(2, 3, 32, 32))[0].square().sum().backward()
    optimizer.step()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if name.split(".")[0] not in parts}


def test_norm_eval_keeps_statistics_but_trains_weights():
    network = small(norm_eval=True).train()
    assert network.training and not network.layer1[0].bn1.training
    network(torch.randn(2, 3, 32, 32))[0].square().sum().backward()
    assert network.layer1[0].bn1.num_batches_tracked == 0
    assert network.layer1[0].bn1.weight.grad.abs().sum() > 0
    assert network.eval() is network


@pytest.mark.parametrize("compiled", [False, True])
def test_checkpointing_changes_neither_results_nor_statistics(compiled):
    plain, thrifty = small(), small(with_cp=True)
    thrifty.load_state_dict(plain.state_dict())
    forward = torch.compile(thrifty, backend="aot_eager", fullgraph=True) if compiled else thrifty
    pictures = torch.randn(2, 3, 32, 32)
    expected, got = plain(pictures)[0], forward(pictures)[0]
    torch.testing.assert_close(got, expected)
    expected.square().sum().backward()
    got.square().sum().backward()
    for name, parameter in thrifty.named_parameters():
        torch.testing.assert_close(parameter.grad, plain.get_parameter(name).grad)
    for name, buffer in thrifty.named_buffers():
        torch.testing.assert_close(buffer, plain.get_buffer(name))


def test_initialisation():
    network = ResNet3D(18, base_channels=16)
    network.init_weights()
    fan_out = 16 * 7**3  # of the stem; Kaiming draws from a normal of variance 2 / fan_out
    assert network.conv1.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
    assert [network.layer2[1].bn1.weight.sum(), network.layer2[1].bn2.weight.sum()] == [32, 0]
    network = ResNet3D(18, base_channels=16, zero_init_residual=False)
    network.init_weights()
    assert network.layer2[1].bn2.weight.sum() == 32


def test_another_initialisation_may_be_given():
    network = small(init_cfg={"type": "Constant", "layer": "Conv3d", "val": 0.5})
    network.init_weights()
    assert (network.layer4[0].conv2.weight == 0.5).all()


@pytest.mark.parametrize(
    ("norm_cfg", "kind", "name"),
    [
        ({"type": "BN"}, nn.BatchNorm3d, "bn1"),
        ({"type": "SyncBN"}, nn.SyncBatchNorm, "bn1"),
        ({"type": "IN"}, nn.InstanceNorm3d, "in1"),
        ({"type": "IN3d", "affine": True}, nn.InstanceNorm3d, "in1"),
        ({"type": "GN", "num_groups": 2}, nn.GroupNorm, "gn1"),
    ],
)
@pytest.mark.parametrize("deep_stem", [False, True])
def test_kinds_of_norm(norm_cfg, kind, name, deep_stem):
    network = small(norm_cfg=norm_cfg, deep_stem=deep_stem)
    network.init_weights()
    assert isinstance(getattr(network.layer1[0], name), kind)
    network = revert_sync_batchnorm(network)
    assert network(torch.randn(2, 3, 32, 32))[0].isfinite().all()


def test_sync_bn_has_the_keys_of_bn():
    assert small(norm_cfg={"type": "SyncBN"}).state_dict().keys() == small().state_dict().keys()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize(("depth_stride", "size"), [(False, (3, 32, 32)), (True, (28, 28, 28))])
def test_bfloat16_trains(memory_format, depth_stride, size):
    """Over slices that stay three, and over a cube whose last maps have 2 and 1 voxels along an axis."""
    torch.manual_seed(0)
    network = small(depth_stride=depth_stride).to(memory_format=memory_format)
    with torch.autocast("cpu", torch.bfloat16):
        feature = network(torch.randn(4, 1, *size))[0]
    assert feature.dtype == torch.bfloat16
    feature.float().square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name
