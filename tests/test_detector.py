"""Detectors over windows of slices: the recipe's numbers, what they learn, where their boxes lie, what they refuse."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torchvision
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign, box_iou

from vdt3d.models import FeatureInfo, WindowBackbone, WindowDetector
from vdt3d.models.detectors.faster_rcnn import box_losses
from vdt3d.models.detectors.window_detector import GridAnchors
from vdt3d.models.weights.adapt import adapt
from vdt3d.models.weights.load import load_weights
from vdt3d.registry import MODELS
from vdt3d.structures import Boxes, DetectionSample, Sample, SpacedWindow, Volume, affine_from_spacing
from vdt3d.transforms import Normalize3D, PackDetection, RandomFlip3D, Resize3D

TYPES = ("FasterRCNN3D", "RetinaNet3D", "FCOS3D")
RATIOS = (0.5, 1.0, 2.0)
SPACING = (2.5, 0.8, 0.8)


@MODELS.register_module()
class TinyWindowEncoder(WindowBackbone):
    """Five convolutions, to which the slices are channels."""

    STRIDES = (4, 8, 16, 32)

    def __init__(self, *, strides: tuple[int, ...] = STRIDES, **kwargs):
        super().__init__(**kwargs)
        channels = [self.in_channels * self.window.slices, *[8] * 5]
        self.convs = nn.ModuleList(nn.Conv2d(*each, 3, 2, 1) for each in pairwise(channels))
        self.feature_info = tuple(FeatureInfo(f"stride{stride}", 8, (1, stride, stride)) for stride in strides)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x, maps = x.flatten(1, 2), {}
        for number, conv in enumerate(self.convs, start=1):
            x = maps[2**number] = conv(x).relu()
        return tuple(maps[info.stride[1]] for info in self.feature_info)


def detector(kind: str = "FasterRCNN3D", **options) -> WindowDetector:
    torch.manual_seed(0)
    small = {"FasterRCNN3D": {"head_channels": 32}, "FCOS3D": {"fpn_channels": 64}}.get(kind, {})
    default = {"backbone": {"type": "TinyWindowEncoder"}, "fpn_channels": 32, "window": {"slices": 3}}
    with DefaultScope.overwrite_default_scope("vdt3d"):
        return MODELS.build({"type": kind} | default | small | options)


def sampled(boxes: list, labels: list[int] | None = None, side: int | tuple[int, int] = 64) -> DetectionSample:
    """What PackDetection makes of a window of 3 slices."""
    plane = (side, side) if isinstance(side, int) else side
    grid = ((3, *plane), affine_from_spacing(SPACING))
    sample = DetectionSample(metainfo={"sample_name": "a", "group": "", "grid": grid, "reference": None})
    sample.gt_boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    sample.gt_labels = torch.tensor(labels or [0] * len(boxes), dtype=torch.int64)
    return sample


def windows(*boxes: tuple[float, ...], side: int = 64, value: float = 2.0) -> Tensor:
    """A window in noise, bright within the boxes."""
    window = 0.1 * torch.randn(1, 1, 3, side, side, generator=torch.Generator().manual_seed(0))
    for x1, y1, x2, y2 in boxes:
        window[..., int(y1) : int(y2), int(x1) : int(x2)] += value
    return window


# ---- the recipe ------------------------------------------------------------------------------------------------------


def test_the_numbers_of_the_recipe_are_the_defaults():
    model = detector(fpn_channels=256, head_channels=1024)
    assert model.window == SpacedWindow(3, 2.5)
    assert [tuple(each.shape[1:]) for each in model.extract_feat(torch.zeros(1, 1, 3, 128, 128)).values()] == [
        (256, 32, 32),
        (256, 16, 16),
        (256, 8, 8),
        (256, 4, 4),
        (256, 2, 2),
    ]
    rpn, roi = model.rpn, model.roi_heads
    assert rpn.anchor_generator.sizes == ((16,), (32,), (64,), (128,), (256,))
    assert rpn.anchor_generator.strides == (4, 8, 16, 32, 64)
    assert set(rpn.anchor_generator.aspect_ratios) == {RATIOS}
    assert (rpn.proposal_matcher.high_threshold, rpn.proposal_matcher.low_threshold) == (0.7, 0.3)
    assert (rpn.fg_bg_sampler.batch_size_per_image, rpn.fg_bg_sampler.positive_fraction) == (256, 0.5)
    assert (rpn.pre_nms_top_n(), rpn.post_nms_top_n(), rpn.nms_thresh) == (2000, 1000, 0.7)
    model.eval()
    assert (rpn.pre_nms_top_n(), rpn.post_nms_top_n()) == (1000, 1000)
    assert (roi.box_roi_pool.output_size, roi.box_roi_pool.sampling_ratio) == ((7, 7), 0)
    assert roi.box_head.fc6.weight.shape == (1024, 256 * 7 * 7)
    assert roi.box_head.fc7.weight.shape == (1024, 1024)
    assert (roi.proposal_matcher.high_threshold, roi.proposal_matcher.low_threshold) == (0.5, 0.5)
    assert (roi.fg_bg_sampler.batch_size_per_image, roi.fg_bg_sampler.positive_fraction) == (512, 0.25)
    assert [1 / weight for weight in roi.box_coder.weights] == pytest.approx([0.1, 0.1, 0.2, 0.2])
    assert (roi.score_thresh, roi.nms_thresh, roi.detections_per_img, roi.beta) == (0, 0.5, 100, 1)
    assert roi.box_predictor.cls_score.weight.shape == (2, 1024)  # the lesion and the background


def test_numbers_may_be_others():
    model = detector(num_classes=3, rpn={"nms_thresh": 0.6}, roi={"beta": 0.5}, anchor_scale=2, anchor_ratios=(1.0,))
    assert (model.rpn.nms_thresh, model.rpn.fg_bg_sampler.batch_size_per_image, model.roi_heads.beta) == (0.6, 256, 0.5)
    assert model.rpn.anchor_generator.sizes[0] == (8,)
    assert model.rpn.head.cls_logits.out_channels == 1
    assert model.roi_heads.box_predictor.cls_score.out_features == 4


def test_the_losses_of_boxes_by_hand():
    """Of two boxes one is an object of class 1, off by 0.5 and 2: 0.5 * 0.5^2 + (2 - 0.5) = 1.625, over two boxes."""
    deltas = torch.full((2, 8), 9.0)  # nobody asks for those of other classes, nor of the background
    deltas[0, 4:] = torch.tensor([0.5, -1.0, 0.0, 3.0])
    wanted = torch.tensor([[0.0, 1.0, 0.0, 3.0], [7.0, 7.0, 7.0, 7.0]])
    of_classes, of_boxes = box_losses(torch.zeros(2, 2), deltas, torch.tensor([1, 0]), wanted, beta=1.0)
    assert of_boxes.item() == pytest.approx(1.625 / 2)
    assert of_classes.item() == pytest.approx(math.log(2))
    # With torchvision's 1 / 9 squares end early: (0.5 - 1 / 18) + (2 - 1 / 18).
    _, early = box_losses(torch.zeros(2, 2), deltas, torch.tensor([1, 0]), wanted, beta=1 / 9)
    assert early.item() == pytest.approx((2.5 - 1 / 9) / 2)


def test_anchors_lie_on_the_grid_of_the_maps_whatever_the_size():
    """100 pixels are 13 places 8 pixels apart; what sizes suggest is 100 // 13 = 7."""
    anchors = GridAnchors((4, 8), scales=(2,), ratios=(1.0,))
    maps = [torch.zeros(2, 1, 25, 25), torch.zeros(2, 1, 13, 13, dtype=torch.bfloat16)]
    first, second = anchors(ImageList(torch.zeros(2, 3, 100, 100), [(100, 100), (90, 80)]), maps)
    assert first is second and first.dtype == torch.float32
    assert first.shape == (25**2 + 13**2, 4)
    assert first[1].tolist() == [4 - 4, -4, 4 + 4, 4]  # 8 pixels wide, about (4, 0)
    assert first[-1].tolist() == [96 - 8, 96 - 8, 96 + 8, 96 + 8]


def test_what_is_pooled_does_not_depend_on_the_first_batch():
    pools = []
    for side in (33, 64):  # of 33 pixels, 17 and 9 are left: hardly a quarter
        model = detector().eval()
        with torch.no_grad():
            model.predict(torch.zeros(1, 1, 3, 64, 64), [sampled([], side=side)])
        pools.append(model.roi_heads.box_roi_pool)
    assert [pool.scales for pool in pools] == [[1 / 4, 1 / 8, 1 / 16, 1 / 32]] * 2
    # Boxes below 112 pixels are pooled from the finest map, of 224 from the third (Lin et al. 2017, equation 1).
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 111, 111], [0, 0, 113, 113], [0, 0, 224, 224], [0, 0, 999, 999]])
    assert pools[0].map_levels([boxes]).tolist() == [0, 0, 1, 2, 3]


# ---- learning --------------------------------------------------------------------------------------------------------

TRUTH = [(8, 12, 24, 28), (36, 34, 60, 58)]
HUNDRED = {"training": 100, "testing": 100}
QUICK = {
    "rpn": {"pre_nms_top_n": HUNDRED, "post_nms_top_n": HUNDRED, "batch_size_per_image": 64},
    "roi": {"batch_size_per_image": 64},
}


@pytest.mark.parametrize("kind", TYPES)
def test_one_window_is_learnt_by_heart(kind: str):
    """Two kinds of objects, told apart by their brightness; the second has the first label."""
    model = detector(kind, num_classes=2, **(QUICK if kind == "FasterRCNN3D" else {}))
    if kind == "RetinaNet3D":  # whose weights begin so small that 32 channels of them say nothing for long
        for conv in model.bbox_head.modules():
            if isinstance(conv, nn.Conv2d) and conv.out_channels == 32:
                nn.init.kaiming_normal_(conv.weight)
    window = windows(TRUTH[0]) + windows(TRUTH[1], value=-2.0)
    sample = sampled(TRUTH, [1, 0])
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    first = None
    for _ in range(40 if kind == "FCOS3D" else 80):
        losses = model(window, [sample], mode="loss")
        loss = sum(losses.values())
        first = first or loss.item()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
    assert set(losses) >= {"loss_cls", "loss_bbox"}
    # FCOS's centeredness cannot fall to 0: it is the cross-entropy of shares.
    assert loss.item() - losses.get("loss_centerness", torch.zeros(())).item() < 0.3 * first
    with torch.no_grad():
        (answer,) = model.eval()(window, [sample], mode="predict")
    assert answer.pred_scores.dtype == np.float32
    assert (np.diff(answer.pred_scores) <= 0).all()
    found = torch.tensor(answer.pred_boxes.corners[:, [2, 1, 5, 4]])
    overlaps = box_iou(torch.tensor(TRUTH, dtype=torch.float64), found[:2])
    assert overlaps.amax(1).min() > 0.7
    assert answer.pred_boxes.labels[overlaps.argmax(1).numpy()].tolist() == [1, 0]


@pytest.mark.parametrize("kind", TYPES)
def test_windows_without_boxes_are_learnt_from_too(kind: str):
    model = detector(kind)
    losses = model.loss(torch.rand(2, 1, 3, 64, 64), [sampled([]), sampled([])])
    assert losses["loss_bbox"] == 0 < losses["loss_cls"]
    sum(losses.values()).backward()
    # Every parameter takes part, or training on several processes would wait for it.
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    mixed = model.loss(torch.rand(2, 1, 3, 64, 64), [sampled([]), sampled([TRUTH[0]])])
    assert all(value.isfinite() for value in mixed.values())


@pytest.mark.parametrize("kind", TYPES)
def test_boxes_are_as_exact_in_half_precision(kind: str):
    """In bfloat16 there are no odd numbers above 256."""
    model = detector(kind)
    sample, side = sampled([(401, 403, 433, 427)], side=448), 448
    with torch.autocast("cpu", torch.bfloat16):
        losses = model.loss(torch.rand(1, 1, 3, side, side), [sample])
        assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())
        with torch.no_grad():
            (answer,) = model.eval().predict(torch.rand(1, 1, 3, side, side), [sample])
    corners = torch.tensor(answer.pred_boxes.corners)
    inner = corners[(corners > 256) & (corners < side)]
    assert (inner != inner.bfloat16().double()).float().mean() > 0.3  # FCOS answers many of its points, which are even


def test_slices_are_the_channels_of_a_2d_network():
    """The kernels of torchvision's file for colours spread over five slices, a fifth of their sum to each."""
    parts = {"type": "PictureEncoder", "model": "torchvision.shufflenet_v2_x0_5", "out_indices": (1, 2, 3, 4)}
    model = detector(backbone=parts, window={"slices": 5})
    state = torchvision.models.shufflenet_v2_x0_5(weights=None).state_dict()
    adapted = adapt(state, model, how=None, name="a file")
    report = load_weights(model, adapted.state, name="a file")
    assert not [key for key in report.missing if key.startswith("backbone.")]
    first = next(module for module in model.backbone.modules() if isinstance(module, nn.Conv2d))
    colours = next(iter(state.values()))
    torch.testing.assert_close(first.weight, colours.sum(1, keepdim=True).expand(-1, 5, -1, -1) / 5)
    losses = model.loss(torch.rand(2, 1, 5, 64, 64), [sampled([TRUTH[0]]), sampled([])])
    sum(losses.values()).backward()
    assert first.weight.grad.abs().amax(dim=(0, 2, 3)).min() > 0  # every slice is looked at


def test_a_2d_network_of_mmsegmentation_does_too():
    model = detector(backbone={"type": "ResNet", "depth": 18, "base_channels": 8, "norm_eval": True})
    assert type(model.backbone).__module__.startswith("mmseg")
    assert model.strides == (4, 8, 16, 32, 64)
    assert all(value.isfinite() for value in model.loss(torch.rand(1, 1, 3, 64, 64), [sampled(TRUTH)]).values())


# ---- where boxes lie -------------------------------------------------------------------------------------------------


def planted(model: WindowDetector, truths: list[Tensor]) -> WindowDetector:
    """The model, but the boxes are its proposals, and its heads are sure of them and move none."""
    sure = torch.tensor([0.0, 9.0])
    model.rpn.forward = lambda images, maps, targets=None: (truths, {})
    model.roi_heads.box_predictor.forward = lambda x: (sure.expand(len(x), 2), torch.zeros(len(x), 8))
    return model.eval()


def test_boxes_come_back_through_resizing_flips_and_padding():
    """Two windows of different sizes in a batch, resized to others, one mirrored: what is found lies on the scan."""
    affine = affine_from_spacing(SPACING)
    affine[:3, 3] = (-120, 40, 1000)
    steps = [[RandomFlip3D("W", prob=1), Resize3D((3, 80, 100))], [Resize3D((3, 96, 48)), Normalize3D(3, 2)]]
    shapes, corners = [(3, 64, 50), (3, 48, 48)], [(1, 10, 5, 2, 30, 21), (1, 4.5, 8.25, 2, 20.5, 40)]
    batch = {"inputs": [], "data_samples": []}
    for shape, corner, transforms in zip(shapes, corners, steps, strict=True):
        boxes = Boxes(np.array([corner]), affine=affine)
        sample = Sample(Volume(np.zeros((1, *shape), np.float32), affine), boxes=boxes, reference=boxes, name="a")
        for transform in transforms:
            sample = transform(sample)
        for key, value in PackDetection()(sample).items():
            batch[key].append(value)
    model = detector(data_preprocessor={"pad_to": 32})
    data = model.data_preprocessor(batch)
    assert data["inputs"].shape == (2, 1, 3, 96, 128)
    planted(model, [sample.gt_boxes for sample in data["data_samples"]])
    with torch.no_grad():
        answers = model(**data, mode="predict")
    # Mirrored in 50 columns 5..21 are 29..45; at twice the columns 58..90, at 5/4 of the rows 12.5..37.5.
    assert data["data_samples"][0].gt_boxes.tolist() == [[58, 12.5, 90, 37.5]]
    for answer, corner in zip(answers, corners, strict=True):
        np.testing.assert_allclose(answer.pred_boxes.corners, [corner], atol=1e-4)
        np.testing.assert_allclose(answer.pred_boxes.affine, affine)
        assert answer.pred_boxes.labels.tolist() == [0]
        assert answer.pred_scores == pytest.approx([1 / (1 + math.exp(-9))])


@pytest.mark.parametrize("kind", TYPES)
def test_no_box_lies_in_the_padding(kind: str):
    model = detector(kind).eval()
    samples = [sampled([], side=(40, 64)), sampled([], side=(64, 30))]
    with torch.no_grad():
        answers = model.predict(torch.randn(2, 1, 3, 64, 64), samples)
    for answer, (height, width) in zip(answers, [(40, 64), (64, 30)], strict=True):
        corners = answer.pred_boxes.corners
        assert len(corners) > 0
        assert (corners[:, 0] == 1).all() and (corners[:, 3] == 2).all()  # the middle one of three slices
        assert corners[:, [1, 2]].min() >= 0
        assert (corners[:, 4].max(), corners[:, 5].max()) <= (height, width) and corners[:, 5].max() <= width
        assert (corners[:, 3:] > corners[:, :3]).all()


def test_without_a_reference_boxes_lie_on_the_networks_grid():
    sample = sampled([(2, 4, 8, 16)])
    model = planted(detector(), [sample.gt_boxes])
    with torch.no_grad():
        (answer,) = model.predict(torch.zeros(1, 1, 3, 64, 64), [sample])
    np.testing.assert_allclose(answer.pred_boxes.corners, [(1, 4, 2, 2, 16, 8)], atol=1e-5)
    np.testing.assert_array_equal(answer.pred_boxes.affine, affine_from_spacing(SPACING))


class Pyramid(nn.Module):
    """Backbone and neck as torchvision's detectors ask for them, slices for colours."""

    def __init__(self, model: WindowDetector):
        super().__init__()
        self.model, self.out_channels = model, model.fpn_channels

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        return self.model.extract_feat(pictures[:, None])


def test_what_is_found_is_what_torchvision_finds():
    """The same weights and numbers in torchvision's own FasterRCNN, which is told to leave pictures as they are."""
    model = detector().eval()
    reference = FasterRCNN(
        Pyramid(model),
        min_size=128,
        max_size=128,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        rpn_anchor_generator=AnchorGenerator(tuple((4 * stride,) for stride in (4, 8, 16, 32, 64)), (RATIOS,) * 5),
        rpn_post_nms_top_n_test=1000,
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 0),
        box_head=model.roi_heads.box_head,
        box_predictor=model.roi_heads.box_predictor,
        box_score_thresh=0.0,
    ).eval()
    reference.rpn.load_state_dict(model.rpn.state_dict())
    window = torch.randn(1, 1, 3, 128, 128)
    with torch.no_grad():
        (wanted,) = reference([window[0, 0]])
        (found,) = model.predict(window, [sampled([], side=128)])
    assert len(found.pred_scores) == len(wanted["scores"]) == 100
    np.testing.assert_allclose(found.pred_scores, wanted["scores"], rtol=1e-5)
    np.testing.assert_allclose(found.pred_boxes.corners[:, [2, 1, 5, 4]], wanted["boxes"], atol=1e-3)


@pytest.mark.parametrize("kind", TYPES)
def test_operations_can_be_counted_without_content(kind: str):
    preprocessor = MODELS.build({"type": "VolumeDataPreprocessor"})
    with torch.device("meta"):
        model = detector(kind, data_preprocessor=preprocessor).eval()
    answers = model(torch.zeros(1, 1, 3, 64, 64, device="meta"))
    assert all(answer.device.type == "meta" for answer in answers)
    if kind == "FasterRCNN3D":
        # Of 3 * (16^2 + 8^2 + 4^2 + 2^2 + 1) = 1023 anchors as many as there may be proposals.
        assert answers[-2].shape == (1000, 2) and answers[-1].shape == (1000, 8)


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"window": {"slices": 3, "stride": 2}}, "has no stride"),
        ({"backbone": {"type": "TinyWindowEncoder", "strides": (4, 16)}}, r"strides \[4, 16\].*out_indices"),
        ({"first_conv": "centre"}, "first_conv.*leave it out"),
    ],
)
def test_what_cannot_be_is_refused(options: dict, said: str):
    with pytest.raises(ValueError, match=said):
        detector(**options)


def test_a_box_without_extent_and_an_unknown_label_are_refused():
    model, window = detector(), torch.zeros(1, 1, 3, 64, 64)
    with pytest.raises(ValueError, match=r"case 'a': box \[5.0, 5.0, 5.0, 9.0\].*PackDetection"):
        model.loss(window, [sampled([TRUTH[0], (5, 5, 5, 9)])])
    with pytest.raises(ValueError, match=r"of label 1.*labels from 0 to 0"):
        model.loss(window, [sampled([TRUTH[0]], [1])])
    sample = sampled([])
    del sample.gt_boxes
    with pytest.raises(ValueError, match="case 'a' has no boxes to learn from"):
        model.loss(window, [sample])


def test_what_is_asked_in_the_wrong_way_is_refused():
    model, window = detector(), torch.zeros(1, 1, 3, 64, 64)
    with pytest.raises(ValueError, match="windows of 5 slices for a model of 3"):
        model(torch.zeros(1, 1, 5, 64, 64))
    with pytest.raises(ValueError, match="data_samples"):
        model.eval()(window, mode="predict")
    with pytest.raises(ValueError, match="training mode"):
        model(window, [sampled([])], mode="loss")
    with pytest.raises(ValueError, match="'loss', 'predict', 'tensor'"):
        model(window, mode="losses")
