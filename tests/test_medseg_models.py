"""Segmentation networks: the published names, shapes and counts; labels and regions; training and prediction."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from medseg.models import FCNHead3D, LabelScheme, LIDCFCNHead, PseudoHead, UNetNeck, VolumeSegmentor
from medseg.models.targets import shrink_targets
from vdt3d.engine.amp import AmpOptimWrapper
from vdt3d.models import FeatureInfo, ResNet3D, UNet3D, VolumeDataPreprocessor
from vdt3d.models.layers import SafeConv3d
from vdt3d.registry import MODELS, TASK_UTILS
from vdt3d.structures import LabelMap, SegmentationSample

STDUNET = dict(depth_stride=True, unet_features=True, stem_stride=False, stem_pool=True, out_indices=(0, 1, 2, 3))
TINY = dict(type="ResNet3D", depth=10, base_channels=4, **STDUNET)


def segmentor(num_classes: int = 2, head: dict | None = None, norm: dict | None = None, **options) -> VolumeSegmentor:
    """A small StdUNet: channels 4, 4, 8, 16, 32 at strides 1, 2, 4, 8, 16."""
    config = dict(
        type="VolumeSegmentor",
        backbone=TINY | dict(norm_cfg=norm),
        neck=dict(type="UNetNeck", norm_cfg=norm),
        decode_head=dict(type="FCNHead3D", num_classes=num_classes, channels=4, norm_cfg=norm) | (head or {}),
    )
    torch.manual_seed(0)
    model = MODELS.build(config | options)
    model.init_weights()
    return model


def sample(labels: Tensor | None, name: str = "case") -> SegmentationSample:
    made = SegmentationSample(metainfo=dict(sample_name=name))
    if labels is not None:
        made.gt_labels = labels
    return made


def balls() -> dict:
    """Two noisy volumes with a bright box of label 1 and, inside it, a brighter one of label 2."""
    labels = torch.zeros(2, 16, 16, 32, dtype=torch.uint8)
    labels[0, 4:12, 4:12, 8:24], labels[1, 2:10, 2:14, 12:28] = 1, 1
    labels[0, 6:10, 6:10, 12:20], labels[1, 4:8, 4:8, 16:24] = 2, 2
    noise = 0.3 * torch.randn(2, 1, *labels.shape[1:], generator=torch.Generator().manual_seed(1))
    samples = [sample(one, f"case{i}") for i, one in enumerate(labels)]
    return dict(inputs=list(noise + labels[:, None]), data_samples=samples)


# The published network -------------------------------------------------------------------------------------------


def full_size(**changes) -> VolumeSegmentor:
    """The StdUNet of BCV, on a device that knows shapes and no numbers."""
    backbone = dict(type="ResNet3D", depth=18) | STDUNET | changes
    head, neck = dict(type="FCNHead3D", num_classes=14), dict(type="UNetNeck")
    preprocessor = VolumeDataPreprocessor()
    with torch.device("meta"):
        return VolumeSegmentor(backbone, head, neck, data_preprocessor=preprocessor)


@pytest.fixture(scope="module")
def stdunet() -> VolumeSegmentor:
    return full_size()


def rows(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def batch_norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    parts = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return parts | {f"{name}.num_batches_tracked": ()}


def test_every_row_of_the_published_state_dict(stdunet):
    expected = {}
    for i, (skip, coarse) in enumerate([(64, 64), (64, 128), (128, 256), (256, 512)]):
        block, upsample = f"neck.decoder.{i}.conv_block.convs", f"neck.decoder.{i}.upsample.interp_upsample.1"
        for name, inputs, kernel in ((f"{block}.0", 2 * skip, 3), (f"{block}.1", skip, 3), (upsample, coarse, 1)):
            expected |= {f"{name}.conv.weight": (skip, inputs, *[kernel] * 3)} | batch_norm(f"{name}.bn", skip)
    for j, inputs in enumerate((64, 16)):
        name = f"decode_head.convs.{j}"
        expected |= {f"{name}.conv.weight": (16, inputs, 3, 3, 3)} | batch_norm(f"{name}.bn", 16)
    expected |= {"decode_head.conv_seg.weight": (14, 16, 1, 1, 1), "decode_head.conv_seg.bias": (14,)}
    assert {name: shape for name, shape in rows(stdunet).items() if not name.startswith("backbone.")} == expected


def test_the_published_numbers_of_parameters(stdunet):
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in stdunet.named_children()}
    assert round(counts["backbone"] / 1e6, 3) == 33.160
    assert round(counts["neck"] / 1e6, 3) == 7.478
    assert counts["decode_head"] == 64 * 16 * 27 + 32 + 16 * 16 * 27 + 32 + 16 * 14 + 14  # 0.0349 M


def test_the_published_shapes(stdunet):
    features = stdunet.backbone(torch.zeros(1, 1, 32, 256, 256, device="meta"))
    assert [tuple(feature.shape[1:]) for feature in features] == [
        (64, 32, 256, 256),
        (64, 16, 128, 128),
        (128, 8, 64, 64),
        (256, 4, 32, 32),
        (512, 2, 16, 16),
    ]
    decoded = stdunet.neck(features)
    assert [tuple(feature.shape[1:]) for feature in decoded] == [
        (512, 2, 16, 16),
        (256, 4, 32, 32),
        (128, 8, 64, 64),
        (64, 16, 128, 128),
        (64, 32, 256, 256),
    ]
    assert tuple(stdunet.decode_head(decoded).shape) == (1, 14, 32, 256, 256)


def test_without_stdunet_mode_scores_come_at_half_size_and_are_brought_to_the_inputs():
    model = full_size(stem_stride=True)
    x = torch.zeros(1, 1, 32, 256, 256, device="meta")
    assert [info.stride[0] for info in model.neck.feature_info] == [32, 16, 8, 4, 2]
    assert tuple(model.decode_head(model.extract_feat(x)).shape[2:]) == (16, 128, 128)
    assert tuple(model(x).shape) == (1, 14, 32, 256, 256)


def test_the_lidc_network():
    with torch.device("meta"):
        backbone = ResNet3D(
            18, depth_stride=True, stem_stride=False, unet_features=True, strides=(1, 2, 1, 2), out_indices=(0, 1, 2, 3)
        )
        head = LIDCFCNHead(backbone.feature_info, 2)
        features = backbone(torch.zeros(1, 1, 48, 48, 48))
        assert [tuple(feature.shape[1:]) for feature in features] == [
            (64, 48, 48, 48),
            (64, 48, 48, 48),
            (128, 24, 24, 24),
            (256, 24, 24, 24),
            (512, 12, 12, 12),
        ]
        assert tuple(head(features).shape) == (1, 2, 48, 48, 48)
    assert rows(head) == {
        "conv1.conv.weight": (512, 640, 1, 1, 1),
        **batch_norm("conv1.bn", 512),
        "conv2.conv.weight": (512, 576, 1, 1, 1),
        **batch_norm("conv2.bn", 512),
        "seg_head.0.weight": (128, 512, 3, 3, 3),
        **batch_norm("seg_head.1", 128),
        "seg_head.3.weight": (2, 128, 1, 1, 1),
        "seg_head.3.bias": (2,),
    }


def test_the_genesis_network():
    with torch.device("meta"):
        network = UNet3D(num_classes=2)
        features = network(torch.zeros(1, 1, 16, 32, 64))
    expected = {}
    blocks = {
        "down_tr64": [(1, 32), (32, 64)],
        "down_tr128": [(64, 64), (64, 128)],
        "down_tr256": [(128, 128), (128, 256)],
        "down_tr512": [(256, 256), (256, 512)],
        "up_tr256": [(768, 256), (256, 256)],
        "up_tr128": [(384, 128), (128, 128)],
        "up_tr64": [(192, 64), (64, 64)],
    }
    for name, convs in blocks.items():
        for i, (inputs, outputs) in enumerate(convs):
            conv = f"{name}.ops.{i}"
            expected |= {f"{conv}.conv1.weight": (outputs, inputs, 3, 3, 3), f"{conv}.conv1.bias": (outputs,)}
            expected |= batch_norm(f"{conv}.bn1", outputs)
    for name, width in (("up_tr256", 512), ("up_tr128", 256), ("up_tr64", 128)):
        expected |= {f"{name}.up_conv.weight": (width, width, 2, 2, 2), f"{name}.up_conv.bias": (width,)}
    expected |= {"out_tr.final_conv.weight": (2, 64, 1, 1, 1), "out_tr.final_conv.bias": (2,)}
    assert rows(network) == expected
    assert [tuple(feature.shape[1:]) for feature in features] == [
        (512, 2, 4, 8),
        (256, 4, 8, 16),
        (128, 8, 16, 32),
        (64, 16, 32, 64),
        (2, 16, 32, 64),
    ]


# Parts -----------------------------------------------------------------------------------------------------------


def test_where_sizes_divide_a_step_upsamples_by_two():
    """The step as published, by a factor and not to a size, on the neck's own layers."""
    torch.manual_seed(0)
    neck = UNetNeck([FeatureInfo("fine", 3, (1, 1, 1)), FeatureInfo("coarse", 5, (2, 2, 2))])
    fine, coarse = torch.randn(2, 3, 4, 6, 8), torch.randn(2, 5, 2, 3, 4)
    block = neck.decoder[0]
    doubled = torch.nn.functional.interpolate(coarse, scale_factor=2, mode="trilinear", align_corners=False)
    expected = block.conv_block(torch.cat([fine, block.upsample.interp_upsample["1"](doubled)], dim=1))
    torch.testing.assert_close(neck([fine, coarse])[-1], expected, rtol=1e-4, atol=1e-5)


def test_where_the_stride_stays_there_is_no_interpolation():
    neck = UNetNeck([FeatureInfo("fine", 3, (1, 1, 1)), FeatureInfo("coarse", 5, (1, 1, 1))])
    assert "decoder.0.upsample.conv.weight" in neck.state_dict()
    assert neck([torch.randn(2, 3, 4, 4, 4), torch.randn(2, 5, 4, 4, 4)])[-1].shape == (2, 3, 4, 4, 4)


@pytest.mark.parametrize("size", [(16, 32, 32), (7, 33, 18), (1, 20, 20)])
@pytest.mark.parametrize("depth_stride", [True, False])
def test_any_size_keeps_its_size(size, depth_stride):
    model = segmentor(3, backbone=TINY | dict(depth_stride=depth_stride)).eval()
    assert model(torch.zeros(1, 1, *size)).shape == (1, 3, *size)
    strides = [info.stride for info in model.neck.feature_info]
    assert strides == [(n if depth_stride else 1, n, n) for n in (16, 8, 4, 2, 1)]


@pytest.mark.parametrize("norm", ["IN3d", "IN", "GN", "SyncBN"])
def test_other_norms(norm):
    options = {"IN3d": dict(affine=True), "IN": dict(affine=True), "GN": dict(num_groups=2), "SyncBN": {}}[norm]
    model = segmentor(3, norm=dict(type=norm, **options))
    names = {name.rsplit(".", 2)[-2] for name in model.state_dict() if name.endswith("weight")}
    norms = {name.rstrip("0123456789") for name in names} & {"bn", "in", "gn"}
    assert norms == {{"IN3d": "in", "IN": "in", "GN": "gn", "SyncBN": "bn"}[norm]}
    if norm != "SyncBN":  # which trains on a GPU only
        losses = model(**model.data_preprocessor(balls(), True), mode="loss")
        assert sum(losses.values()).isfinite()


def test_every_convolution_is_a_safe_one():
    models = [segmentor(), UNet3D(num_classes=2, base_channels=2)]
    models.append(
        LIDCFCNHead([FeatureInfo(str(k), 4, (k, k, k)) for k in (1, 2, 4)], 2, channels=4, in_index=(0, 1, 2))
    )
    convs = [module for model in models for module in model.modules() if type(module).__name__.endswith("Conv3d")]
    assert len(convs) > 40 and all(isinstance(conv, SafeConv3d) for conv in convs)


def test_initial_weights():
    """Kaiming by fan-out: variance 2 / (out_channels x kernel voxels), the scores included."""
    torch.manual_seed(0)
    info = [FeatureInfo("coarse", 32, (2, 2, 2)), FeatureInfo("fine", 32, (1, 1, 1))]
    head = FCNHead3D(info, 14, channels=64, deep_supervision=1)
    head.init_weights()
    assert head.convs[1].conv.weight.std().item() == pytest.approx((2 / (64 * 27)) ** 0.5, rel=0.05)
    assert head.conv_seg.weight.std().item() == pytest.approx((2 / 14) ** 0.5, rel=0.1)
    assert head.aux_seg[0].weight.std().item() == pytest.approx((2 / 14) ** 0.5, rel=0.1)
    network = UNet3D(base_channels=8)
    network.init_weights()
    weight = network.up_tr256.up_conv.weight  # (in, out, 2, 2, 2), which the initialiser reads as (out, in, ...)
    assert weight.std().item() == pytest.approx((2 / (128 * 8)) ** 0.5, rel=0.05)


def test_the_encoder_of_genesis_alone():
    network = UNet3D(base_channels=2, decoder=False)
    (features,) = network(torch.zeros(1, 1, 16, 16, 16))
    assert [(info.name, info.channels) for info in network.feature_info] == [("down_tr512", features.shape[1])]
    assert {key.split(".")[0] for key in network.state_dict()} == {f"down_tr{width}" for width in (64, 128, 256, 512)}
    with pytest.raises(ValueError, match="without its decoder ends in no scores"):
        UNet3D(num_classes=2, decoder=False)


def test_the_pseudo_head_counts_what_the_network_gives():
    info = UNet3D(num_classes=2, base_channels=2).feature_info
    assert PseudoHead(info).labels.num_classes == 2
    regions = dict(organ=(1, 2), tumour=(2,))
    assert PseudoHead(info, 3, regions=regions).labels.channels == 2
    with pytest.raises(ValueError, match=r"2 channels \(out_tr\) for 3 classes"):
        PseudoHead(info, 3)


def test_what_is_refused():
    coarse_only = [FeatureInfo("layer4", 32, (16, 16, 16))]
    with pytest.raises(ValueError, match="unet_features=True"):
        UNetNeck(coarse_only)
    with pytest.raises(ValueError, match="finest first"):
        UNetNeck([FeatureInfo("coarse", 5, (2, 2, 2)), FeatureInfo("fine", 3, (1, 1, 1))])
    with pytest.raises(ValueError, match="deep_supervision=1 wants"):
        FCNHead3D(coarse_only, 2, deep_supervision=1)
    with pytest.raises(ValueError, match="may have only 'inferer'"):
        segmentor(test_cfg=dict(mode="whole"))
    with pytest.raises(ValueError, match="no inferer"):
        segmentor()(torch.zeros(1, 1, 8, 8, 8), [sample(None)], mode="predict")
    with pytest.raises(RuntimeError, match="Invalid mode"):
        segmentor()(torch.zeros(1, 1, 8, 8, 8), mode="guess")


# Labels ----------------------------------------------------------------------------------------------------------


def targets(scheme: LabelScheme, *values: int) -> list:
    labels = torch.tensor(values, dtype=torch.int16).view(1, 1, -1)
    return scheme.targets([sample(labels)], labels.shape)[0, ..., 0, 0, :].tolist()


def test_labels_are_merged_and_dropped():
    assert targets(LabelScheme(3), 0, 1, 2, 255) == [0, 1, 2, 255]
    assert targets(LabelScheme(2, label_map={2: 1, 3: 255, 7: 0}), 0, 1, 2, 3, 7, 255) == [0, 1, 1, 255, 0, 255]


@pytest.mark.parametrize("value", [3, 254, -1, 300])
def test_an_unknown_label_is_named_with_its_case(value):
    with pytest.raises(ValueError, match=rf"case 'case': 1 voxels have labels outside 0\.\.2: {value};"):
        targets(LabelScheme(3), 0, 1, 2, value)


def test_labels_that_are_missing_or_of_another_size():
    with pytest.raises(ValueError, match="case 'a' has no labels"):
        LabelScheme(2).targets([sample(None, "a")], (2, 2, 2))
    with pytest.raises(ValueError, match=r"case 'b': labels of shape \(2, 2, 3\) for an image of \(2, 2, 2\)"):
        LabelScheme(2).targets([sample(torch.zeros(2, 2, 3, dtype=torch.uint8), "b")], (2, 2, 2))


def test_regions_become_targets_and_scores_become_labels():
    """Brain tumours: whole = 1, 2, 3; core = 2, 3; enhancing = 3; a label 4 merged into 3."""
    scheme = LabelScheme(4, regions=dict(whole=(1, 2, 3), core=(2, 3), enhancing=(3,)), label_map={4: 3})
    assert scheme.channels == 3 and scheme.painted == [1, 2, 3]
    assert targets(scheme, 0, 1, 2, 3, 4, 255) == [[0, 1, 1, 1, 1, 255], [0, 0, 1, 1, 1, 255], [0, 0, 0, 1, 1, 255]]
    # Columns: nothing; whole; whole and core; all; core alone, painted all the same; exactly 1/2 is not inside.
    scores = torch.tensor([[-1, 1, 1, 1, -1, 0], [-1, -1, 1, 1, 2, 0], [-9, -1, -1, 1, -2, 0]]).float()
    assert scheme.paint(scores).tolist() == [0, 1, 2, 3, 2, 0]


def test_painting_a_target_gives_back_its_labels():
    scheme = LabelScheme(4, regions=dict(whole=(1, 2, 3), core=(2, 3), enhancing=(3,)))
    labels = torch.randint(0, 4, (5, 6, 7), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    regions = scheme.targets([sample(labels)], labels.shape)[0]
    assert torch.equal(scheme.paint(regions.float() - 0.5), labels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(num_classes=1), "must be 2 to 255"),
        (dict(num_classes=3, label_map={4: 3}), "label_map: 4 -> 3"),
        (dict(num_classes=3, regions=dict(tumour=(2,), liver=(1, 2))), "region 'tumour'.* none: put outer regions"),
        (dict(num_classes=4, regions=dict(both=(1, 2), other=(3,))), r"region 'both'.* \[1, 2\]: put outer"),
        (dict(num_classes=3, regions=dict(liver=(1, 3))), r"region 'liver' holds \[3\]"),
        (dict(num_classes=3, regions=dict(all=(0, 1))), r"region 'all' holds \[0\]"),
    ],
)
def test_schemes_that_cannot_work(options, message):
    with pytest.raises(ValueError, match=message):
        LabelScheme(**options)


def test_coarser_targets_are_the_labels_at_the_voxels_centres():
    # 6 to 3: centres at 1, 3, 5 of 0..6, so voxels 1, 3, 5; 5 to 2: centres at 1.25 and 3.75, so voxels 1 and 3.
    assert shrink_targets(torch.arange(6).expand(1, 1, 6), (1, 1, 3))[0, 0].tolist() == [1, 3, 5]
    assert shrink_targets(torch.arange(5).expand(1, 1, 5), (1, 1, 2))[0, 0].tolist() == [1, 3]


# Training --------------------------------------------------------------------------------------------------------

HEADS = {
    "deep supervision": dict(num_classes=3, deep_supervision=3),
    "regions": dict(num_classes=3, regions=dict(outer=(1, 2), inner=(2,)), deep_supervision=1),
    "merged": dict(num_classes=2, label_map={2: 1}, num_convs=0),
    "several losses": dict(num_classes=3, loss_decode=[dict(type="DiceLoss3D"), dict(type="FocalLoss3D")]),
}


def trained(model: VolumeSegmentor, steps: int = 8, wrapper: Callable = OptimWrapper) -> list[float]:
    """The loss before and after as many steps on the same two volumes."""
    optimizer, data = wrapper(optimizer=torch.optim.AdamW(model.parameters(), 0.02)), balls()
    losses = [model.train_step(data, optimizer)["loss"].item() for _ in range(steps)]
    return [losses[0], losses[-1]]


def starved(model: VolumeSegmentor) -> list[str]:
    """The parameters that no gradient reaches; asked after training, for residual blocks start as the identity."""
    sum(model(**model.data_preprocessor(balls(), True), mode="loss").values()).backward()
    return [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS.keys())
def test_steps_lower_the_loss_and_reach_every_parameter(head):
    model = segmentor(head=head, norm=dict(type="IN3d", affine=True)).train()
    first, last = trained(model)
    assert last < 0.9 * first
    assert starved(model) == []


def test_deep_supervision_weighs_each_scale_half_of_the_finer_one():
    model = segmentor(head=dict(num_classes=3, deep_supervision=2, dropout_ratio=0.0))
    data = model.data_preprocessor(balls(), True)
    inputs, samples = data["inputs"], data["data_samples"]
    with torch.no_grad():
        features = model.extract_feat(inputs)
        head, truth = model.decode_head, torch.stack([one.gt_labels for one in samples])
        scales = head.all_scales(features)
        assert [tuple(scores.shape[2:]) for scores in scales] == [(16, 16, 32), (8, 8, 16), (4, 4, 8)]
        each = [head.loss_decode(scores, shrink_targets(truth, scores.shape[2:])).item() for scores in scales]
        losses = head.loss(features, samples, inputs.shape[2:])
    assert losses.keys() == {"loss_dice", "loss_ce"}
    assert sum(losses.values()).item() == pytest.approx((4 * each[0] + 2 * each[1] + each[2]) / 7, rel=1e-5)


def test_the_genesis_network_trains():
    torch.manual_seed(0)
    model = VolumeSegmentor(dict(type="UNet3D", num_classes=3, base_channels=4), dict(type="PseudoHead"))
    model.init_weights()
    first, last = trained(model, steps=5)
    assert last < 0.9 * first
    assert starved(model) == []


def test_training_in_bfloat16_follows_float32():
    """Later losses may differ by more: AdamW's first steps follow the signs of gradients, which rounding can change."""
    options = dict(num_classes=3, deep_supervision=1, dropout_ratio=0.0)
    losses = {}
    for wrapper in (OptimWrapper, partial(AmpOptimWrapper, dtype="bfloat16")):
        model = segmentor(head=options, norm=dict(type="IN3d", affine=True))
        losses[wrapper] = trained(model, wrapper=wrapper)
    (float32, _), (bfloat16, last) = losses.values()
    convs = sum(isinstance(module, nn.Conv3d) for module in model.modules())
    assert bfloat16 == pytest.approx(float32, rel=convs * 2**-9) and bfloat16 != float32  # each rounds by 2**-9 at most
    assert last < 0.9 * bfloat16


def test_it_survives_a_save(tmp_path):
    model, x = segmentor(3, head=dict(deep_supervision=2)).eval(), torch.randn(1, 1, 16, 32, 32)
    torch.save(model.state_dict(), tmp_path / "model.pth")
    other = segmentor(3, head=dict(deep_supervision=2)).eval()
    for tensor in other.state_dict().values():
        tensor.fill_(1)
    other.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True))
    assert torch.equal(other(x), model(x))


# Prediction ------------------------------------------------------------------------------------------------------


@TASK_UTILS.register_module()
class WholeForTests:
    """One pass over the scan; what it was handed is kept."""

    def segment(self, network, image, case, decide=None) -> LabelMap:
        self.shape, self.decide = tuple(image.shape), decide
        scores = network(image[None])[0]
        labels = scores.argmax(0) if decide is None else decide(scores)
        return LabelMap(labels[None].numpy().astype(np.uint8))


@pytest.mark.parametrize("regions", [None, dict(outer=(1, 2), inner=(2,))])
def test_predictions_lie_beside_the_truth(regions):
    head = dict(num_classes=3, regions=regions)
    model = segmentor(head=head, test_cfg=dict(inferer=dict(type="WholeForTests"))).eval()
    data = balls()
    with torch.no_grad():
        answers = model.test_step(data)
        scores = model(torch.stack(data["inputs"]))
    for one, score, name in zip(answers, scores, ("case0", "case1"), strict=True):
        assert one.sample_name == name and one.gt_labels.shape == (16, 16, 32)
        # Inner paints 2 wherever it is, outer 1 elsewhere.
        expected = torch.where(score[1] > 0, 2, (score[0] > 0).long()) if regions else score.argmax(0)
        assert isinstance(one.pred_labels, LabelMap)
        assert np.array_equal(one.pred_labels.array[0], expected.numpy())
    assert model.inferer.shape == (1, 16, 16, 32)
    assert (model.inferer.decide is None) == (regions is None)


def test_a_config_may_be_built_twice():
    config = dict(type="FCNHead3D", num_classes=2, loss_decode=[dict(type="DiceLoss3D")])
    for _ in range(2):
        segmentor(decode_head=config)
    assert config == dict(type="FCNHead3D", num_classes=2, loss_decode=[dict(type="DiceLoss3D")])
