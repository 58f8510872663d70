"""Decoders of a transformer's maps: SETR-PUP, ConvTrans, UNETR; and what mmsegmentation's UPerNet counts."""

from collections.abc import Callable, Sequence

import pytest
import torch
from mmengine.model import BaseModule
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from mmseg.registry import MODELS as MMSEG_MODELS
from monai.networks.nets import UNETR
from torch import Tensor, nn
from torch.nn import functional

from medseg.models import ConvTransHead, PUPHead, SliceWindowSegmentor, UNETRHead
from vdt3d.registry import MODELS
from vdt3d.structures import SegmentationSample

BN = {"type": "BN"}
FIVE = {"in_index": (0, 1, 2, 3, 4)}
HEADS = {  # narrow, for the maps of ``FiveMaps``
    "PUPHead": {"type": "PUPHead"},
    "ConvTransHead": {"type": "ConvTransHead"},
    "UNETRHead": {"type": "UNETRHead", "channels": 2, **FIVE},
}
ODD = (137, 203)  # pixels, of which maps of stride 16 are 9 x 13


@pytest.fixture(autouse=True)
def scope():
    """As in a run: names are looked up from our registry."""
    with DefaultScope.overwrite_default_scope("vdt3d"):
        yield


@MODELS.register_module()
class FiveMaps(BaseModule):
    """Stands for a transformer: the picture itself and four maps of 6 channels, whose sides are rounded up."""

    def __init__(self, stride: int = 16):
        super().__init__()
        self.patches = nn.Conv2d(3, 6, stride, stride)
        self.blocks = nn.ModuleList(nn.Conv2d(6, 6, 1) for _ in range(4))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        height, width = (-side % self.patches.stride[0] for side in x.shape[2:])
        maps = [x]
        x = self.patches(functional.pad(x, (0, width, 0, height)))
        for block in self.blocks:
            x = x + block(x).tanh()
            maps.append(x)
        return tuple(maps)


def segmentor(head: dict, **changes) -> SliceWindowSegmentor:
    """For windows of five slices and three classes, without dropout."""
    torch.manual_seed(0)
    parts = {"backbone": {"type": "FiveMaps"}, "decode_head": {"dropout_ratio": 0, **head}, "num_classes": 3}
    return MODELS.build({"type": "SliceWindowSegmentor", "window": {"slices": 5}, **parts, **changes})


def count(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def maps_of(sizes: Sequence[tuple[int, ...]], device: str = "cpu") -> list[Tensor]:
    return [torch.rand(2, *size, device=device) for size in sizes]


def test_no_name_shadows_a_part_of_the_libraries():
    for registry in (MMSEG_MODELS, MMPRETRAIN_MODELS):
        registry.import_from_location()
        assert not HEADS.keys() & registry.module_dict.keys()
    assert {"UPerHead", "SETRUPHead"} <= MMSEG_MODELS.module_dict.keys()


# In a segmentor ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HEADS)
def test_a_training_step_reaches_every_parameter_and_lowers_the_loss(name):
    model = segmentor(HEADS[name])
    sample = SegmentationSample()
    sample.gt_labels = torch.randint(3, (5, 48, 64), dtype=torch.uint8)
    windows = torch.rand(2, 1, 5, 48, 64)

    def loss() -> Tensor:
        return sum(model.loss(windows, [sample, sample]).values())

    before = loss()
    before.backward()
    starved = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert starved == []
    torch.optim.SGD(model.parameters(), lr=0.01).step()
    assert loss() < before


@pytest.mark.parametrize(("size", "target"), [((144, 208), "centre"), (ODD, "centre"), ((16, 48), "all")])
@pytest.mark.parametrize("name", HEADS)
def test_scores_are_of_the_windows_size(name, size, target):
    model = segmentor(HEADS[name], window={"slices": 5, "target": target}).eval()
    answered = 5 if target == "all" else 1
    with torch.no_grad():
        assert model.encode_decode(torch.rand(2, 1, 5, *size)).shape == (2, 3, answered, *size)


@pytest.mark.parametrize(("name", "size"), [("PUPHead", (72, 104)), ("ConvTransHead", (144, 208)), ("UNETRHead", ODD)])
def test_the_sizes_of_the_scores_themselves(name, size):
    """Nine by thirteen: by 8, by 16, and by 16 cut to the window."""
    model = segmentor(HEADS[name]).eval()
    with torch.no_grad():
        assert model.decode_head(model.extract_feat(torch.rand(1, 1, 5, *ODD))).shape == (1, 3, *size)


# Against the plain sequence ---------------------------------------------------------------------------------------


def normed(x: Tensor, weight: Tensor, convolve: Callable, **options) -> Tensor:
    """A convolution with a bias, the instance norm that takes it off again, and ReLU."""
    bias = torch.linspace(-3, 3, weight.shape[1 if convolve is functional.conv_transpose2d else 0])
    return functional.instance_norm(convolve(x, weight, bias, **options)).relu()


@pytest.mark.parametrize("name", ["PUPHead", "ConvTransHead", "UNETRHead"])
def test_nothing_is_dropped_before_the_scores(name: str):
    """As in the release; in training mode two passes of one window are the same."""
    model = segmentor(HEADS[name], num_classes=4).train()
    windows = torch.rand(2, 1, 5, 48, 80)
    torch.testing.assert_close(model.encode_decode(windows), model.encode_decode(windows))


def test_pup_and_the_last_doubling_are_the_plain_sequence():
    model = segmentor(HEADS["PUPHead"], num_classes=4).eval()
    windows, state = torch.rand(2, 1, 5, 48, 80), model.decode_head.state_dict()
    with torch.no_grad():
        x = model.extract_feat(windows)[-1]
        assert x.shape == (2, 6, 3, 5)
        for step in range(4):
            x = normed(x, state[f"convs.{step}.conv.weight"], functional.conv2d, padding=1)
            if step < 3:
                x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = functional.conv2d(x, state["conv_seg.weight"], state["conv_seg.bias"])
        assert x.shape == (2, 4, 24, 40)
        x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        torch.testing.assert_close(model.encode_decode(windows)[:, :, 0], x, atol=1e-5, rtol=1e-4)


def test_conv_trans_is_the_plain_sequence():
    model = segmentor(HEADS["ConvTransHead"]).eval()
    windows, state = torch.rand(2, 1, 5, 48, 80), model.decode_head.state_dict()
    with torch.no_grad():
        x = functional.instance_norm(model.extract_feat(windows)[-1]).relu()
        for step in range(3):
            x = normed(x, state[f"convs.{step}.conv.weight"], functional.conv_transpose2d, stride=2)
        x = functional.conv_transpose2d(x, state["conv_seg.weight"], state["conv_seg.bias"], stride=2)
        assert x.shape == (2, 3, 48, 80)
        torch.testing.assert_close(model.encode_decode(windows)[:, :, 0], x, atol=1e-5, rtol=1e-4)


def test_unetr_is_monais_with_monais_weights():
    """Its encoder's tokens after blocks 3, 6 and 9 and its last, as maps, and its decoder's parameters by name."""
    torch.manual_seed(0)
    size = {"img_size": (48, 80), "feature_size": 2, "hidden_size": 6, "mlp_dim": 4, "num_heads": 2}
    reference = UNETR(in_channels=5, out_channels=3, spatial_dims=2, **size).eval()
    head = UNETRHead((5, 6, 6, 6, 6), 2, num_classes=3).eval()
    decoder = {name: value for name, value in reference.state_dict().items() if not name.startswith("vit.")}
    head.load_state_dict({name.replace("out.conv.conv", "conv_seg"): value for name, value in decoder.items()})
    window = torch.rand(2, 5, 48, 80)
    with torch.no_grad():
        last, hidden = reference.vit(window)
        maps = [tokens.unflatten(1, (3, 5)).permute(0, 3, 1, 2) for tokens in (hidden[3], hidden[6], hidden[9], last)]
        torch.testing.assert_close(head([window, *maps]), reference(window))


def test_maps_that_reach_beyond_a_window_are_cut_at_its_end():
    """The same maps, of 2 x 2 patches, under a window that they fill and under one of 20 x 28."""
    torch.manual_seed(0)
    head = UNETRHead((1, 6, 6, 6, 6), 2, num_classes=3).eval()
    head.decoder2.conv_block, head.conv_seg = nn.Identity(), nn.Identity()
    maps, window = maps_of([(6, 2, 2)] * 4), torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        whole, cut = (head([part, *maps]) for part in (window, window[:, :, :20, :28]))
    assert cut.shape == (2, 4, 20, 28)  # what is joined: two channels of the maps, two of the window
    assert torch.equal(cut[:, :2], whole[:, :2, :20, :28])


# Numbers of parameters --------------------------------------------------------------------------------------------


def test_the_parameters_of_pup():
    """Four kernels of 3 x 3 between equal widths, and a weight for each channel and a bias for each class."""
    assert count(PUPHead(6, num_classes=3)) == 4 * 9 * 6 * 6 + (6 + 1) * 3  # 1317
    assert count(PUPHead(6, 4, num_classes=3)) == 9 * 6 * 4 + 3 * 9 * 4 * 4 + (4 + 1) * 3
    with torch.device("meta"):
        head = PUPHead(768, num_classes=14)
    assert count(head) == 21_233_664 + 10_766  # 4 x 9 x 768 x 768 and 769 x 14


def test_the_parameters_of_conv_trans():
    """Three kernels of 2 x 2 between equal widths, one to the classes, a bias for each class."""
    assert count(ConvTransHead(6, num_classes=3)) == 3 * 4 * 6 * 6 + 4 * 6 * 3 + 3  # 507
    assert count(ConvTransHead(6, 4, num_classes=3)) == 4 * 6 * 4 + 2 * 4 * 4 * 4 + 4 * 4 * 3 + 3
    with torch.device("meta"):
        head = ConvTransHead(768, num_classes=14)
    assert count(head) == 7_077_888 + 43_022  # 3 x 4 x 768 x 768; 4 x 768 x 14 and 14


@pytest.mark.parametrize(
    ("image", "width", "channels", "classes", "expected"),
    [
        (2, 6, 2, 3, [72, 96 + 2 * 352, 192 + 1408, 384, 384 + 7424, 512 + 1856, 128 + 464, 32 + 116, 9]),
        (
            5,
            768,
            16,
            14,
            [
                3_104,  # 720 + 2,304 + 80
                98_304 + 2 * (4_096 + 18_432),
                196_608 + 16_384 + 73_728,
                393_216,
                393_216 + 475_136,  # 294,912 + 147,456 + 32,768
                32_768 + 118_784,
                8_192 + 29_696,
                2_048 + 7_424,
                238,
            ],
        ),
    ],
)
def test_the_parameters_of_unetr(image, width, channels, classes, expected):
    """In f channels at full size, of encoders 1 to 4, decoders 5 to 2 and the scores.

    A block i to o with a shortcut has 9 i o + 9 o o and, where the widths differ, i o; one that doubles the size 4 i o.
    Encoder 1 is a block to f; encoders 2, 3, 4 double to 2 f, 4 f, 8 f and then, 2, 1, 0 times, double again and have a
    block. Decoders 5 to 2 double to 8 f, 4 f, 2 f, f and have a block from twice as many.
    """
    with torch.device("meta"):
        head = UNETRHead((image, *[width] * 4), channels, num_classes=classes)
    found = [count(getattr(head, f"encoder{level}")) for level in (1, 2, 3, 4)]
    found += [count(getattr(head, f"decoder{level}")) for level in (5, 4, 3, 2)]
    assert [*found, count(head.conv_seg)] == expected
    assert count(head) == sum(expected)  # 1,893,902 of the published widths


@pytest.mark.parametrize("name", HEADS)
def test_published_widths_and_sizes(name):
    """Maps of 768 channels of windows of 240 px, of which 15 x 15 patches remain: scores at stride 2, 1, 1."""
    side = {"PUPHead": 120, "ConvTransHead": 240, "UNETRHead": 240}[name]
    with torch.device("meta"):
        channels = [5, *[768] * 4]
        config = {**HEADS[name], "in_channels": channels if name == "UNETRHead" else 768, "num_classes": 14}
        scores = MODELS.build(config)(maps_of([(5, 240, 240), *[(768, 15, 15)] * 4], "meta"))
    assert scores.shape == (2, 14, side, side)


def test_upernet_of_mmsegmentation_has_the_published_parameters():
    """Feature2Pyramid and UPerHead over BEiT's maps, and UPerHead alone over Swin's."""
    four = {"in_index": [0, 1, 2, 3], "num_classes": 14, "norm_cfg": BN}
    with torch.device("meta"):
        pyramid = MODELS.build({"type": "Feature2Pyramid", "embed_dim": 768, "norm_cfg": BN})
        head = MODELS.build({"type": "UPerHead", "in_channels": [768] * 4, "channels": 768, **four})
        maps = pyramid(maps_of([(768, 15, 15)] * 4, "meta"))
        assert [tuple(each.shape[2:]) for each in maps] == [(60, 60), (30, 30), (15, 15), (7, 7)]
        assert head(maps).shape == (2, 14, 60, 60)
        swin = MODELS.build({"type": "UPerHead", "in_channels": [128, 256, 512, 1024], "channels": 512, **four})
    assert count(pyramid) == 4_721_664 + 2_360_064
    assert count(pyramid) + count(head) == 74_940_686
    assert count(swin) == 33_246_222


# What does not fit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [{}, {"in_index": -1}, {"in_index": (1, 2, 3, 4)}])
def test_unetr_wants_five_maps(chosen):
    with pytest.raises(ValueError, match=r"reads five maps.*in_index=\(0, 1, 2, 3, 4\).*with_image=True"):
        segmentor({"type": "UNETRHead", **chosen})


@pytest.mark.parametrize("stride", [8, 32])
def test_unetr_wants_maps_of_stride_16(stride):
    with pytest.raises(ValueError, match=r"UNETRHead.* of stride 16, .*; got .*patch_size"):
        segmentor(HEADS["UNETRHead"], backbone={"type": "FiveMaps", "stride": stride})


def test_unetr_wants_the_window_first():
    with pytest.raises(ValueError, match=r"the first map a UNETRHead reads is the window"):
        segmentor({**HEADS["UNETRHead"], "in_index": (1, 0, 2, 3, 4)})


def test_unetr_takes_no_option_that_would_change_nothing():
    with pytest.raises(TypeError, match="norm_cfg"):
        UNETRHead((5, 6, 6, 6, 6), num_classes=3, norm_cfg=BN)
