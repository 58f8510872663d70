"""Networks of timm as encoders of windows and of slices: their maps, sizes, weights and refusals."""

from copy import deepcopy

import numpy as np
import pytest
import timm
import torch
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from vdt3d.models import PictureEncoder, SliceEncoder, WindowEncoder
from vdt3d.models.backbones.image_network import can_inflate_input
from vdt3d.models.backbones.window_encoder import _fit_map
from vdt3d.models.weights.adapt import adapt
from vdt3d.models.weights.load import load_weights
from vdt3d.registry import MODELS
from vdt3d.structures import SegmentationSample, affine_from_spacing

VIT = {"depth": 2, "embed_dim": 32, "num_heads": 2, "img_size": 64}
VIT14 = VIT | {"img_size": 56}
SWIN = {"depths": (1, 1, 1, 1), "embed_dim": 16, "num_heads": (1, 1, 2, 2), "window_size": 2, "img_size": 64}
TNT = {"depth": 2, "embed_dim": 32, "inner_dim": 8, "num_heads_outer": 2, "num_heads_inner": 2, "img_size": 64}
PYRAMID = {"depths": (1, 1, 1, 1), "embed_dims": (8, 16, 24, 32)}
NETWORKS = {  # with arguments that make them small
    "vit_small_patch14_dinov2": VIT14,
    "vit_small_patch16_dinov3": VIT,
    "vit_base_patch16_clip_224": VIT,
    "vit_base_patch16_siglip_224": VIT,
    "eva02_tiny_patch14_224": VIT14,
    "deit3_small_patch16_224": VIT,
    "beit_base_patch16_224": VIT,
    "vit_relpos_small_patch16_224": VIT,
    "samvit_base_patch16": VIT | {"global_attn_indexes": (1,), "window_size": 2},
    "naflexvit_base_patch16_gap": VIT,
    "swin_tiny_patch4_window7_224": SWIN,
    "swinv2_tiny_window8_256": SWIN,
    "test_maxvit": {"img_size": 64},
    "hiera_tiny_224": {"stages": (1, 1, 1, 1), "embed_dim": 16, "img_size": 64},
    "convnextv2_atto": {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)},
    "test_efficientnet": {},
    "test_byobnet": {},
    "test_nfnet": {},
    "pvt_v2_b0": PYRAMID | {"num_heads": (1, 2, 2, 2)},
    "twins_svt_small": PYRAMID | {"img_size": 64},
    "xcit_nano_12_p8_224": VIT,
    "cait_xxs24_224": VIT | {"depth_token_only": 1},
    "convit_tiny": VIT | {"local_up_to_layer": 1},
    "levit_128s": {"embed_dim": (16, 32, 32), "depth": (1, 1, 1), "img_size": 64},
    "tnt_s_patch16_224": TNT,
}


def network(name: str, options: dict) -> nn.Module:
    """A network of timm whose scales, statistics and zero-initialised layers are random, in evaluation mode."""
    torch.manual_seed(0)
    found = timm.create_model(name, **options).eval()
    with torch.no_grad():
        for parameter in found.parameters():
            if parameter.numel() == max(parameter.shape, default=1):
                parameter.uniform_(0.5, 1)
            elif parameter.std() < 1e-3:
                parameter.normal_(0, 0.02)
        for key, buffer in found.named_buffers():
            if key.endswith(("running_mean", "running_var")):
                buffer.uniform_(0.5, 1)
    return found


def fill(target: nn.Module, source: nn.Module) -> None:
    """Load the state dict of a 2D network as a checkpoint file is loaded; nothing is missing."""
    adapted = adapt(source.state_dict(), target, how=None, name="a.pth")
    report = load_weights(target, adapted.state, name="a.pth", hint=adapted.hint)
    assert report.missing in ((), ("slice_weights",)) and not report.unlike


def farthest(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", NETWORKS)
def test_equal_slices_give_the_maps_of_the_2d_network(name):
    options = NETWORKS[name]
    side = options.get("img_size", 64)
    encoder = WindowEncoder({"type": f"timm.{name}", **options}, window={"slices": 5}, img_size=side, resize=False)
    flat = network(name, options)
    fill(encoder.eval(), flat)
    image = torch.rand(2, 1, side, side)
    numbers = [int(info.name.removeprefix("feature")) for info in encoder.feature_info]
    with torch.no_grad():
        expected = flat.forward_intermediates(image.expand(-1, 3, -1, -1), output_fmt="NCHW", intermediates_only=True)
        maps = encoder(image.unsqueeze(2).expand(-1, -1, 5, -1, -1))
    assert len(maps) == len(numbers) >= 2
    for number, found, info in zip(numbers, maps, encoder.feature_info, strict=True):
        assert found.shape[1:] == (info.channels, *2 * [-(-side // info.stride[2])])
        assert farthest(found, expected[number]) < 1e-5


def test_kernels_may_go_to_the_centre_or_to_a_learned_sum_of_slices():
    options, image = NETWORKS["vit_small_patch16_dinov3"], torch.rand(1, 1, 64, 64)
    model, flat = {"type": "timm.vit_small_patch16_dinov3", **options}, network("vit_small_patch16_dinov3", options)
    with torch.no_grad():
        expected = flat.forward_intermediates(image.expand(-1, 3, -1, -1), output_fmt="NCHW", intermediates_only=True)
    for first_conv in ("centre", "repeat", "learned"):
        encoder = WindowEncoder(model, window={"slices": 4}, first_conv=first_conv)
        fill(encoder, flat)
        maps = encoder.eval()(image.unsqueeze(2).expand(-1, -1, 4, -1, -1))
        assert farthest(maps[-1].detach(), expected[-1]) < 1e-5
    assert encoder.slice_weights.shape == (4,)
    maps[-1].sum().backward()
    assert encoder.slice_weights.grad.abs().min() > 0
    with pytest.raises(ValueError, match="first_conv='middle'"):
        WindowEncoder(model, first_conv="middle")


@pytest.mark.parametrize("name", ["test_nfnet", "naflexvit_base_patch16_gap"])
def test_a_first_layer_that_cannot_be_inflated_gets_a_sum_of_the_slices(name):
    model = {"type": f"timm.{name}", **NETWORKS[name]}
    assert WindowEncoder(model, window={"slices": 5}).slice_weights.shape == (5,)
    with pytest.raises(ValueError, match=f"first_conv='centre'.*{name}.*first_conv='learned'"):
        WindowEncoder(model, window={"slices": 5}, first_conv="centre")


@pytest.mark.parametrize("name", ["mobileone_s0", "fastvit_t8", "crossvit_tiny_240"])
def test_every_layer_that_reads_the_image_takes_the_slices(name):
    with torch.device("meta"):
        found = timm.create_model(name, in_chans=5)
    assert can_inflate_input(f"timm.{name}")
    first = found.pretrained_cfg["first_conv"]
    assert len(first) > 1
    assert {found.get_submodule(layer).weight.shape[1] for layer in first} == {5}


def test_maps_are_chosen_from_the_end_and_other_layers_are_left_out():
    encoder = WindowEncoder({"type": "timm.test_vit", "depth": 6}, out_indices=(-5, 2))
    assert [info.name for info in encoder.feature_info] == ["feature1", "feature2"]
    assert {key.split(".")[2] for key in encoder.state_dict() if ".blocks." in key} == {"0", "1", "2"}
    assert {"network.blocks.5.norm1.weight", "network.norm.weight"} <= encoder.left_out
    deep = WindowEncoder({"type": "timm.test_vit", "depth": 8})
    assert [info.name for info in deep.feature_info] == ["feature1", "feature3", "feature5", "feature7"]
    with pytest.raises(ValueError, match=r"\[-7\].*features 0 to 5"):
        WindowEncoder({"type": "timm.test_vit", "depth": 6}, out_indices=(-7,))


# ---- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "more", "strides"),
    [
        ("vit_small_patch14_dinov2", {}, (16, 16)),
        ("vit_small_patch14_dinov2", {"resize": False}, (14, 14)),
        ("eva02_tiny_patch14_224", {}, (16, 16)),
        ("swinv2_tiny_window8_256", {}, (4, 8, 16, 32)),
        ("convnextv2_atto", {}, (4, 8, 16, 32)),
        ("test_efficientnet", {}, (2, 4, 8, 16, 32)),
    ],
)
def test_images_may_have_other_sizes(name, more, strides):
    encoder = WindowEncoder({"type": f"timm.{name}", **NETWORKS[name]}, window={"slices": 3}, **more).eval()
    assert tuple(info.stride[2] for info in encoder.feature_info) == strides
    with torch.no_grad():
        maps = encoder(torch.rand(1, 1, 3, 100, 142))
    assert [each.shape[2:] for each in maps] == [(-(-100 // stride), -(-142 // stride)) for stride in strides]


def test_a_resized_map_keeps_its_place():
    """A map that is a ramp along the image is the same ramp, in pixels, after it was resized from stride 14 to 16."""
    ramp = torch.arange(19.0).mul(14).add(6.5).expand(1, 1, 18, 19)  # pixel at the centre of each patch
    resized = _fit_map(ramp, 14, 16, (252, 256))
    assert resized.shape == (1, 1, 16, 16)
    torch.testing.assert_close(resized[0, 0, 3, 1:-1], torch.arange(1.0, 15).mul(16).add(7.5))


@pytest.mark.parametrize("name", ["beit_base_patch16_224", "hiera_tiny_224", "convit_tiny"])
def test_a_network_of_one_size_refuses_others(name):
    encoder = WindowEncoder({"type": f"timm.{name}", **NETWORKS[name]}, window={"slices": 3})
    with pytest.raises(ValueError, match=f"96 x 64 pixels.*{name}.*64 x 64 only"):
        encoder(torch.rand(1, 1, 3, 96, 64))


def test_maxvit_takes_multiples_of_its_windows():
    encoder = WindowEncoder("timm.test_maxvit", window={"slices": 3}, img_size=64).eval()
    assert encoder.sizes.multiple == 64
    with torch.no_grad():
        assert encoder(torch.rand(1, 1, 3, 64, 100))[-1].shape[2:] == (2, 4)


@pytest.mark.parametrize("name", ["vit_small_patch16_dinov3", "beit_base_patch16_224", "swin_tiny_patch4_window7_224"])
def test_position_parameters_are_resized_to_img_size(name):
    options = {key: value for key, value in NETWORKS[name].items() if key != "img_size"}
    if "window_size" in options:
        options["window_size"] = 4
    flat = network(name, NETWORKS[name])
    encoder = WindowEncoder({"type": f"timm.{name}", **options}, window={"slices": 3}, img_size=(96, 128))
    fill(encoder, flat)
    assert encoder.eval()(torch.rand(1, 1, 3, 96, 128))[0].isfinite().all()


def test_a_map_of_another_stride_than_announced_is_refused():
    with torch.device("meta"):
        assert [info.stride[2] for info in WindowEncoder("timm.pit_ti_224").feature_info] == [16, 32]
        with pytest.raises(ValueError, match=r"feature0 has the shape \(64, 27, 27\).*stride of 8.*\(64, 28, 28\)"):
            WindowEncoder("timm.pit_ti_224", out_indices=(0,))
    with pytest.raises(ValueError, match=r"torchvision\.resnet18"):
        WindowEncoder("torchvision.resnet18", img_size=64)
    with pytest.raises(ValueError, match=r"timm.test_vit.*tokens"):
        WindowEncoder({"type": "timm.test_vit", "tokens": 3})


# ---- in a model ------------------------------------------------------------------------------------------------------

HEAD = {"type": "UPerHead", "channels": 8, "in_index": [0, 1, 2, 3], "norm_cfg": {"type": "BN"}, "pool_scales": (1,)}
FOUR = {"depth": 4, "embed_dim": 32, "num_heads": 2}
SEGMENTORS = {
    "vit_small_patch14_dinov2": FOUR | {"img_size": 56},
    "vit_small_patch16_dinov3": FOUR,
    "vit_base_patch16_clip_224": FOUR,
    "vit_base_patch16_siglip_224": FOUR,
    "eva02_tiny_patch14_224": FOUR,
    "swinv2_tiny_window8_256": SWIN,
    "test_maxvit": {"img_size": 64},
    "hiera_tiny_224": NETWORKS["hiera_tiny_224"],
}


@pytest.mark.parametrize("name", SEGMENTORS)
def test_a_segmentor_loads_the_file_learns_and_predicts(name):
    options = SEGMENTORS[name]
    plain = "depth" in options
    pyramid = {"type": "Feature2Pyramid", "norm_cfg": {"type": "BN"}} if plain else None
    config = {
        "type": "SliceWindowSegmentor",
        "num_classes": 2,
        "window": {"slices": 3},
        "backbone": {"type": "WindowEncoder", "model": {"type": f"timm.{name}", **options}},
        "neck": pyramid,
        "decode_head": HEAD if plain else HEAD | {"in_index": [-4, -3, -2, -1]},
    }
    with DefaultScope.overwrite_default_scope("vdt3d"):
        model = MODELS.build(config)
    flat = network(name, options)
    adapted = adapt(flat.state_dict(), model, how=None, name="a.pth")
    report = load_weights(model, adapted.state, name="a.pth", hint=adapted.hint)
    assert not [key for key in report.missing if key.startswith("backbone.")]
    windows, sample = torch.rand(2, 1, 3, 64, 64), labelled()
    losses = model.loss(windows, [sample, sample])
    sum(losses.values()).backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []
    assert model.eval().encode_decode(windows).shape == (2, 2, 1, 64, 64)


def labelled() -> SegmentationSample:
    sample = SegmentationSample()
    labels = np.random.default_rng(0).integers(0, 2, (3, 64, 64), dtype=np.uint8)
    sample.gt_labels = torch.from_numpy(labels)
    grid = ((3, 64, 64), affine_from_spacing((3.0, 1.0, 1.0)))
    for key, value in {"sample_name": "a", "history": (), "grid": grid}.items():
        sample.set_field(value, key, field_type="metainfo")
    return sample


def test_a_picture_encoder_is_a_window_encoder_of_one_slice():
    torch.manual_seed(0)
    one = PictureEncoder("timm.test_vit", in_channels=5).eval()
    torch.manual_seed(0)
    other = WindowEncoder("timm.test_vit", window={"slices": 5}).eval()
    images = torch.rand(1, 5, 64, 64)
    with torch.no_grad():
        for found, expected in zip(one(images), deepcopy(other)(images.unsqueeze(1)), strict=True):
            assert torch.equal(found, expected)
    assert list(one.state_dict()) == list(other.state_dict())


# ---- slices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "vit_small_patch16_dinov3", "test_efficientnet"])
def test_a_slice_gives_the_vector_of_its_image(name):
    options = NETWORKS[name]
    side = options.get("img_size", 64)
    encoder = SliceEncoder({"type": f"timm.{name}", **options}, img_size=side, chunk=3).eval()
    flat = network(name, options)
    fill(encoder, flat)
    volumes = torch.rand(2, 1, 4, side, side)
    with torch.no_grad():
        vectors, (maps,) = encoder(volumes), encoder.maps(volumes)
        images = volumes[1, :, 2].expand(1, 3, -1, -1)
        expected = flat.forward_head(flat.forward_features(images), pre_logits=True)
        expected_maps = flat.forward_intermediates(images, [-1], output_fmt="NCHW", intermediates_only=True)
        other = encoder(torch.rand(1, 1, 2, 40, 48))
    assert vectors.shape == (2, 4, encoder.num_features) and other.shape == (1, 2, encoder.num_features)
    torch.testing.assert_close(vectors[1, 2], expected[0])
    torch.testing.assert_close(maps[1, 2], expected_maps[0][0])


def test_slices_of_several_channels_and_what_is_refused():
    encoder = SliceEncoder("timm.test_vit", in_channels=2, img_size=32)
    assert encoder(torch.rand(1, 2, 3, 32, 32)).shape == (1, 3, 64)
    with pytest.raises(ValueError, match="chunk=0"):
        SliceEncoder("timm.test_vit", chunk=0)
    with pytest.raises(ValueError, match=r"torchvision.resnet18"):
        SliceEncoder("torchvision.resnet18")
