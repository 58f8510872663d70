"""2D segmentors over windows of slices: what they answer, learn and refuse, and that 2D weights keep their meaning."""

from functools import partial
from pathlib import Path

import mmseg
import numpy as np
import pytest
import torch
import torchvision
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.models.backbones.resnet import Bottleneck, ResNet
from torch import Tensor, nn

from medseg.models import PictureUNetNeck, SliceWindowSegmentor
from vdt3d.models.backbones.feature_probe import probe_features
from vdt3d.models.backbones.image_network import take_channels
from vdt3d.models.backbones.window_parts import build_image_part
from vdt3d.models.inflate.kernels import spread_over_slices
from vdt3d.models.weights.adapt import adapt
from vdt3d.models.weights.load import load_weights
from vdt3d.registry import MODELS
from vdt3d.structures import IGNORED, SegmentationSample, SliceWindow, affine_from_spacing
from vdt3d.transforms import CutWindow

BN = {"type": "BN"}
FOUR = {"in_index": [0, 1, 2, 3]}
OVERLAPS = {"a": (1, 3), "b": (2, 3)}  # labels 0 to 3 are sums of bits
RESNET = {"type": "ResNetV1c", "depth": 18, "base_channels": 16, "norm_cfg": BN}
# mmsegmentation's segmentors, of each family one, narrow; and one of them around encoders of timm
SEGMENTORS = {
    "UNet": {
        "backbone": {"type": "UNet", "base_channels": 4, "norm_cfg": BN},
        "decode_head": {"type": "FCNHead", "in_index": 4, "channels": 8, "num_convs": 1, "concat_input": False},
        "auxiliary_head": {"type": "FCNHead", "in_index": 3, "channels": 8, "num_convs": 1, "norm_cfg": BN},
    },
    "FPN": {
        "backbone": RESNET,
        "neck": {"type": "FPN", "out_channels": 8, "num_outs": 4},
        "decode_head": {"type": "FPNHead", "feature_strides": [4, 8, 16, 32], "channels": 8, "norm_cfg": BN, **FOUR},
    },
    "UPerNet": {"backbone": RESNET, "decode_head": {"type": "UPerHead", "channels": 8, "norm_cfg": BN, **FOUR}},
    "DeepLabV3+": {
        "backbone": RESNET,
        "decode_head": {
            "type": "DepthwiseSeparableASPPHead",
            "channels": 8,
            "dilations": (1, 2),
            "c1_in_channels": 16,
            "c1_channels": 4,
            "norm_cfg": BN,
        },
    },
    "SegFormer": {
        "backbone": {
            "type": "MixVisionTransformer",
            "embed_dims": 8,
            "num_layers": [1, 1, 1, 1],
            "num_heads": [1, 2, 4, 8],
        },
        "decode_head": {"type": "SegformerHead", "channels": 8, "norm_cfg": BN, **FOUR},
    },
    "Swin": {
        "backbone": {"type": "SwinTransformer", "embed_dims": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8]},
        "decode_head": {"type": "UPerHead", "channels": 8, "norm_cfg": BN, **FOUR},
    },
}
SEGMENTORS["OCRNet"] = {
    "num_stages": 2,
    "backbone": RESNET,
    "decode_head": [
        {"type": "FCNHead", "channels": 8, "num_convs": 1, "concat_input": False, "norm_cfg": BN},
        {"type": "OCRHead", "channels": 8, "ocr_channels": 4, "norm_cfg": BN},
    ],
}
ENCODER = {
    "backbone": {"type": "PictureEncoder", "model": "torchvision.resnet18"},
    "neck": {"type": "PictureUNetNeck", "channels": [4, 4, 8, 8]},
    "decode_head": {"type": "FCNHead", "channels": 4, "num_convs": 0, "concat_input": False},
}
ENCODERS = ("resnet10t", "mobilenetv3_small_050", "regnety_002", "convnext_atto", "test_convnext")
SEGMENTORS |= {
    f"timm.{name}": {
        "backbone": {"type": "PictureEncoder", "model": f"timm.{name}"},
        "decode_head": {"type": "UPerHead", "channels": 8, "norm_cfg": BN, **FOUR},
    }
    for name in ENCODERS
}
TINY = {key: part for key, part in SEGMENTORS["UNet"].items() if key != "auxiliary_head"}
INFERER = {"inferer": {"type": "SliceWindowInferer", "batch": 2}}


def segmentor(parts: dict, **options) -> SliceWindowSegmentor:
    with DefaultScope.overwrite_default_scope("vdt3d"):
        default = {"type": "SliceWindowSegmentor", "num_classes": 4, "regions": OVERLAPS, "test_cfg": INFERER}
        return MODELS.build(default | parts | options)


def labelled(slices: int, side: int = 64, labels: int = 4, seed: int = 0, **metainfo) -> SegmentationSample:
    sample = SegmentationSample()
    rng = np.random.default_rng(seed)
    sample.gt_labels = torch.from_numpy(rng.integers(0, labels, (slices, side, side), dtype=np.uint8))
    shape = (slices, side, side)
    metainfo = {"sample_name": "a", "history": (), "grid": (shape, affine_from_spacing((3.0, 1.0, 1.0)))} | metainfo
    for name, value in metainfo.items():
        sample.set_field(value, name, field_type="metainfo")
    return sample


@pytest.mark.parametrize("slices", [3, 5, 7])
@pytest.mark.parametrize("name", SEGMENTORS)
def test_segmentors_and_encoders_learn_from_windows(name, slices):
    torch.manual_seed(0)
    model = segmentor(SEGMENTORS[name], window={"slices": slices})
    windows = torch.rand(2, 1, slices, 64, 64)
    losses = model.loss(windows, [labelled(slices, seed=0), labelled(slices, seed=1)])
    assert ("loss_aux0_dice" in losses) == (name in ("UNet", "OCRNet"))
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    assert first.weight.shape[1] == slices
    assert first.weight.grad.abs().amax(dim=(0, 2, 3)).min() > 0  # every slice is looked at
    assert model.eval().encode_decode(windows).shape == (2, 2, 1, 64, 64)


def test_a_cascade_passes_the_logits_of_each_head_to_the_next():
    """Half of the loss of the first head is added; its logits reach the second, as in mmsegmentation's cascade."""
    parts = SEGMENTORS["OCRNet"]
    first, second = parts["decode_head"]
    model = segmentor(parts | {"decode_head": [first | {"loss_weight": 0.5, "dropout_ratio": 0}, second]}).eval()
    windows, samples = torch.rand(2, 1, model.window.slices, 64, 64), [labelled(model.window.slices)] * 2
    with torch.no_grad():
        features = model.extract_feat(windows)
        coarse = model.decode_head[0](features)
        fine = model.decode_head[1](features, coarse)
        terms = model.loss(windows, samples)

    def upscaled(logits: Tensor) -> Tensor:
        full = nn.functional.interpolate(logits, (64, 64), mode="bilinear", align_corners=False)
        return full.unflatten(1, (2, 1))

    torch.testing.assert_close(model.encode_decode(windows), upscaled(fine))
    for name, weight, logits in (("loss_", 1, fine), ("loss_aux0_", 0.5, coarse)):
        for term, value in model.score_losses(upscaled(logits), samples, windows.shape[2:]).items():
            torch.testing.assert_close(terms[name + term], weight * value)
    assert {"decode_head.0.conv_seg.weight", "decode_head.1.conv_seg.weight"} <= model.state_dict().keys()


def test_a_whole_scan_is_labelled_slice_by_slice():
    model = segmentor(TINY, window={"slices": 3}, num_classes=2, regions=None).eval()
    sample = labelled(5, 40)
    (answer,) = model.predict(torch.rand(1, 1, 5, 40, 40), [sample])
    assert answer.pred_labels.shape == (5, 40, 40)
    assert answer.pred_labels.array.dtype == np.uint8


def test_all_slices_of_a_window_may_be_answered():
    window = {"slices": 3, "target": "all"}
    model = segmentor(TINY, window=window, num_classes=3, regions=None)
    assert model.decode_head.out_channels == 9
    assert model.eval().encode_decode(torch.rand(2, 1, 3, 64, 64)).shape == (2, 3, 3, 64, 64)
    model.train()
    assert model.loss(torch.rand(2, 1, 3, 64, 64), [labelled(3, labels=3)] * 2)["loss_dice"].isfinite()


@pytest.mark.parametrize(("target", "place"), [("centre", 1), ("first", 0)])
def test_only_the_slice_that_is_answered_is_judged(target, place):
    model = segmentor(TINY, window={"slices": 3, "target": target}).eval()
    windows = torch.rand(1, 1, 3, 64, 64)
    truth = labelled(3)

    def terms() -> list[float]:
        return [loss.item() for loss in model.loss(windows, [truth]).values()]

    before = terms()
    others = [each for each in range(3) if each != place]
    truth.gt_labels[others] = IGNORED
    assert terms() == before
    truth.gt_labels[place] = IGNORED
    assert terms() != before


def test_what_a_slice_holds_may_be_asked_too():
    model = segmentor(TINY, window={"slices": 3}, presence_weight=0.5)
    truth = labelled(3)
    truth.gt_labels[1] = 0
    truth.gt_labels[1, :5] = 2  # in the slice that is answered: b alone
    truth.gt_labels[1, 5:9] = IGNORED
    assert model._present(model.labels.targets([truth], (3, 64, 64))[..., [1], :, :]).tolist() == [[0, 1]]
    classes = segmentor(TINY, window={"slices": 3}, presence_weight=0.5, regions=None)
    assert classes._present(classes.labels.targets([truth], (3, 64, 64))[..., [1], :, :]).tolist() == [[0, 1, 0]]
    loss = model.loss(torch.rand(2, 1, 3, 64, 64), [truth, truth])["loss_presence"]
    loss.backward()
    assert model.presence.weight.grad.abs().sum() > 0
    nn.init.zeros_(model.presence.weight)
    nn.init.zeros_(model.presence.bias)
    asked = model.loss(torch.rand(2, 1, 3, 64, 64), [truth, truth])["loss_presence"]
    assert asked.item() == pytest.approx(0.5 * np.log(2))  # a coin's cross-entropy


def test_each_window_may_be_scaled_by_itself():
    """Two windows of two slices and two channels; the second is the first times 1000, and answered alike."""
    values = torch.tensor([0.0, 1.0, 2.0, 5.0, 3.0, 1.0, 4.0, 2.0]).view(1, 2, 2, 1, 2)
    both = torch.cat([values, 1000 * values])
    by = {scale: segmentor(TINY, window={"slices": 2}, in_channels=2, scale=scale) for scale in ("max", "zscore")}
    pictures = by["max"]._read(both)
    assert pictures.shape == (2, 4, 1, 2)
    assert pictures[0].flatten().tolist() == pytest.approx([0, 0.2, 0.4, 1, 0.6, 0.2, 0.8, 0.4])
    torch.testing.assert_close(pictures[0], pictures[1])
    scored = by["zscore"]._read(both)  # mean 2.25; squares 0 1 4 25 9 1 16 4: 7.5 - 2.25^2 = 2.4375
    assert scored[1].flatten()[0] == pytest.approx(-2.25 / 2.4375**0.5)
    ramp = torch.arange(1001.0).view(1, 1, 1, 1, 1001)  # percentiles 0.5 and 99.5 are 5 and 995
    cut = segmentor(TINY, window={"slices": 1}, scale="percentile")._read(ramp).flatten()
    assert [float(cut[place]) for place in (0, 5, 500, 995, 1000)] == pytest.approx([0, 0, 0.5, 1, 1])
    nothing = torch.zeros(1, 1, 3, 64, 64)
    for scale in ("max", "percentile", "zscore"):
        assert segmentor(TINY, window={"slices": 3}, scale=scale)._read(nothing).abs().max() == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"scale": "log"}, "max, percentile, zscore"),
        ({"window": {"edge": "zero"}, "data_preprocessor": {"mean": 1.0}}, "normalise in the pipeline"),
        ({"decode_head": TINY["decode_head"] | {"loss_decode": {"type": "CrossEntropyLoss"}}}, "loss_decode"),
        ({"decode_head": {"type": "OCRHead", "channels": 4, "ocr_channels": 4}}, "another head"),
        ({"decode_head": [TINY["decode_head"]] * 2}, "FCNHead cannot follow"),
        ({"decode_head": [TINY["decode_head"]], "num_stages": 2}, "num_stages=2"),
        ({"decode_head": []}, "a decode_head"),
        ({"decode_head": TINY["decode_head"] | {"in_channels": 7}}, "FCNHead has in_channels=7.* 4 channels"),
        ({"pretrained": "open-mmlab://resnet50_v1c"}, "'pretrained'.*load_from"),
        ({"train_cfg": {}}, "'train_cfg'"),
        ({"num_clases": 2}, "'num_clases'.*'num_classes'"),
        ({"test_cfg": {"thresholds": 0.4}, "regions": None}, "thresholds"),
        ({"neck": {"type": "PictureUNetNeck", "channels": [4]}}, "one step for each"),
    ],
)
def test_what_does_not_fit_is_refused(change, named):
    with pytest.raises(ValueError, match=named):
        segmentor(TINY | change)


def test_windows_of_another_kind_are_refused():
    model = segmentor(TINY, window={"slices": 3})
    with pytest.raises(ValueError, match="windows of 5 slices for a model of 3"):
        model(torch.rand(1, 1, 5, 64, 64), mode="tensor")
    strided = labelled(3, history=((CutWindow(SliceWindow(3, stride=2)), {"position": 0}),))
    with pytest.raises(ValueError, match=r"stride=2.*the model has"):
        model.loss(torch.rand(1, 1, 3, 64, 64), [strided])
    own = labelled(3, history=((CutWindow(SliceWindow(3)), {"position": 0}),))
    assert model.loss(torch.rand(2, 1, 3, 64, 64), [own, own])


# ---- 2D weights ------------------------------------------------------------------------------------------------------


def answers(model: SliceWindowSegmentor, picture: torch.Tensor) -> torch.Tensor:
    """Scores of windows whose slices all are ``picture`` (N, H, W)."""
    return model.eval().encode_decode(picture[:, None, None].expand(-1, 1, model.window.slices, -1, -1))


@pytest.mark.parametrize("slices", [1, 2, 4, 5, 7])
@pytest.mark.parametrize("first_conv", ["average", "repeat", "centre"])
def test_equal_slices_are_answered_as_the_grey_picture_was(slices, first_conv):
    """The law, through a file of the 2D segmentor for three colours: whatever shares the slices get."""
    torch.manual_seed(0)
    colours = segmentor(TINY, window={"slices": 3})  # whose slices are the colours
    model = segmentor(TINY, window={"slices": slices}, first_conv=first_conv)
    adapted = adapt(colours.state_dict(), model, how=None, name="a file")
    load_weights(model, adapted.state, min_matched=1.0, heads=True, name="a file")
    picture = torch.rand(2, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(answers(model, picture), answers(colours, picture), atol=1e-4, rtol=0)


@pytest.mark.parametrize("slices", [3, 5])
@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0"])
def test_a_file_of_torchvision_fills_the_encoder(name, slices):
    torch.manual_seed(0)
    network = torchvision.models.get_model(name).eval()
    parts = ENCODER | {"backbone": {"type": "PictureEncoder", "model": f"torchvision.{name}"}, "neck": None}
    model = segmentor(parts | {"decode_head": TINY["decode_head"] | {"in_index": 1}}, window={"slices": slices})
    adapted = adapt(network.state_dict(), model, how=None, name="a file")
    report = load_weights(model, adapted.state, min_matched=0.9, name="a file")
    assert not [key for key in report.missing if key.startswith("backbone.")]
    reference = MODELS.build({"type": "PictureEncoder", "model": f"torchvision.{name}"}).eval()
    held = reference.network.state_dict()
    reference.network.load_state_dict({key: value for key, value in network.state_dict().items() if key in held})
    picture = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        wanted = reference(picture.expand(1, 3, 64, 64))
        found = model.eval().backbone(picture.expand(1, slices, 64, 64))
    for one, other in zip(wanted, found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_the_slices_of_every_channel_share_the_kernels():
    weight = torch.arange(12.0).view(2, 3, 1, 2)  # two kernels of 1 x 2 pixels for three colours
    grey = weight.sum(1)
    spread = spread_over_slices(weight, 10, slices=5, place=2, how="centre")  # of two channels
    assert spread.shape == (2, 10, 1, 2)
    torch.testing.assert_close(spread[:, 2], grey / 2)
    torch.testing.assert_close(spread[:, 7], grey / 2)
    assert spread.abs().sum() == grey.abs().sum()
    torch.testing.assert_close(spread_over_slices(weight, 5, slices=5, place=2)[:, 4], grey / 5)
    turns = spread_over_slices(weight, 5, slices=5, place=2, how="repeat")  # red and green twice, blue once
    for place, (colour, takers) in enumerate([(0, 2), (1, 2), (2, 1), (0, 2), (1, 2)]):
        torch.testing.assert_close(turns[:, place], weight[:, colour] / takers)
    with pytest.raises(ValueError, match="average, repeat, centre"):
        spread_over_slices(weight, 5, slices=5, place=2, how="mean")
    with pytest.raises(ValueError, match="4 input channels"):
        spread_over_slices(torch.zeros(1, 4, 1, 1), 5, slices=5, place=2)
    with pytest.raises(ValueError, match="leave it out"):
        segmentor(TINY, window={"slices": 3}, first_conv="centre")


# ---- encoders --------------------------------------------------------------------------------------------------------


def test_an_encoder_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"torchvision\.NAME"):
        MODELS.build({"type": "PictureEncoder", "model": "torchvision.resnet19"})
    with pytest.raises(ValueError, match="the features 0 to 4"):
        MODELS.build({"type": "PictureEncoder", "model": "torchvision.resnet18", "out_indices": (0, 5)})
    with pytest.raises(ValueError, match="no convolution"):
        take_channels(nn.Linear(3, 2), 5)
    with pytest.raises(ValueError, match="Sequential returns sizes"):
        probe_features(nn.Sequential(nn.Conv2d(1, 2, 5)), 1)


def test_a_nested_type_of_mmsegmentation_is_not_mistaken_for_mmpretrains():
    nested = {"type": "ResNet", "depth": 18, "base_channels": 4, "contract_dilation": True}
    backbone = build_image_part(
        {"type": "BiSeNetV1", "context_channels": (8, 16, 32), "out_channels": 8, "backbone_cfg": nested}
    )
    assert type(backbone.context_path.backbone).__module__.startswith("mmseg.")


VIT = {"patch_size": 16, "embed_dims": 8, "num_layers": 1, "num_heads": 1, "out_indices": (0,)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"decode_head": {"type": "EncHead", "in_index": (3, 4), "channels": 4, "num_codes": 2}},
            "EncHead.*use_se_loss",
        ),
        ({"decode_head": {"type": "DAHead", "channels": 4, "pam_channels": 2}}, "DAHead"),
        ({"decode_head": {"type": "CCHead", "channels": 4}}, "CCHead.*compiled"),
        ({"decode_head": {"type": "mmseg.PointHead", "channels": 4}}, "PointHead"),
        ({"decode_head": [{"type": "DAHead", "channels": 4, "pam_channels": 2}] * 2}, "DAHead returns a tuple"),
        ({"decode_head": {"type": "Mask2FormerHead", "channels": 4}}, "Mask2FormerHead"),
        ({"decode_head": {"type": "DDRHead", "channels": 4}}, "DDRHead.*training"),
        ({"backbone": {"type": "PIDNet"}}, "PIDNet.*training"),
        ({"backbone": {"type": "InceptionV3"}}, "InceptionV3.*NoneType, Tensor"),
        ({"backbone": {"type": "BEiT", "img_size": 64, **VIT}}, "BEiT.*192"),
        ({"backbone": {"type": "VisionTransformer", "output_cls_token": True, **VIT}}, "VisionTransformer.*list"),
    ],
    ids=lambda value: value.partition(".")[0] if isinstance(value, str) else "",
)
def test_parts_that_do_not_fit_are_refused_by_name(changes, words):
    config = {"type": "SliceWindowSegmentor", "num_classes": 2, "window": {"slices": 3}, **TINY, **changes}
    with pytest.raises(ValueError, match=words):
        MODELS.build(config)


BASES = {path.stem: path for path in Path(mmseg.__file__).parent.glob(".mim/configs/_base_/models/*.py")}
REFUSED_BASES = {
    "ccnet_r50-d8": "CCHead.*compiled",
    "danet_r50-d8": "DAHead returns a tuple",
    "dpt_vit-b16": "VisionTransformer returns a list",
    "encnet_r50-d8": "EncHead.*use_se_loss",
    "fpn_poolformer_s12": "FPN has in_channels",  # of a ResNet; the configs built on it replace them
    "icnet_r50-d8": "ICNet returns sizes",
    "pointrend_r50": "PointHead",
    "psanet_r50-d8": "PSAHead.*compiled",
    "san_vit-b16": "'image_encoder'.*SAN",
    "upernet_beit": "BEiT fails on inputs.*192",
    "upernet_convnext": "FCNHead has in_channels=384",  # of a narrower network; likewise
    "upernet_mae": "MAE fails on inputs.*192",
    "vpd_sd": "VPD",
}


@pytest.mark.parametrize("name", sorted(BASES))
def test_base_models_of_mmsegmentation_are_built_or_refused_by_name(name, monkeypatch):
    model = Config.fromfile(BASES[name]).model.to_dict()
    for key in ("pretrained", "data_preprocessor", "train_cfg", "test_cfg"):
        model.pop(key, None)
    for head in (model.get("decode_head"), model.get("auxiliary_head")):
        for each in head if isinstance(head, list) else [head or {}]:
            each.pop("loss_decode", None)
            each.pop("num_classes", None)
    # One block at each resolution is enough.
    monkeypatch.setitem(ResNet.arch_settings, 50, (Bottleneck, (1, 1, 1, 1)))
    for stage in model.get("backbone", {}).get("extra", {}).values():
        stage |= {"num_modules": 1, "num_blocks": (1,) * stage["num_branches"]}
    preprocessor = MODELS.build({"type": "VolumeDataPreprocessor"})
    monkeypatch.setattr(torch, "linspace", partial(torch.linspace, device="cpu"))  # for rates of dropped paths
    model |= {"type": "SliceWindowSegmentor", "window": {"slices": 3}, "data_preprocessor": preprocessor}
    with torch.device("meta"):
        if name in REFUSED_BASES:
            with pytest.raises(ValueError, match=REFUSED_BASES[name]):
                MODELS.build(model | {"num_classes": 2})
        else:
            MODELS.build(model | {"num_classes": 2})


def test_all_base_models_of_mmsegmentation_are_found():
    assert len(BASES) >= 45
    assert REFUSED_BASES.keys() <= BASES.keys()


def test_the_decoder_meets_odd_sizes():
    neck = PictureUNetNeck([2, 3, 4], channels=[5, 6])
    outputs = neck((torch.rand(1, 2, 15, 9), torch.rand(1, 3, 8, 5), torch.rand(1, 4, 4, 3)))
    assert [tuple(output.shape) for output in outputs] == [(1, 6, 8, 5), (1, 5, 15, 9)]
