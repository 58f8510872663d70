"""Losses of segmentation: the published numbers, MONAI's, ignored voxels, regions, weights, precision."""

import math

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss, FocalLoss, TverskyLoss
from torch import Tensor

from medseg.models import (
    CombineLoss,
    ComboLoss,
    CrossEntropyLoss3D,
    DiceCELoss3D,
    DiceLoss3D,
    FocalLoss3D,
    SumLoss3D,
    TverskyLoss3D,
    VolumeLoss,
)
from vdt3d.registry import MODELS

EVERY = {
    "ce": CrossEntropyLoss3D(),
    "weighted ce": CrossEntropyLoss3D([1.0, 2.0, 5.0]),
    "dice": DiceLoss3D(),
    "dice of the foreground": DiceLoss3D(include_background=False, batch=True),
    "weighted dice": DiceLoss3D(class_weight=[1.0, 2.0, 5.0]),
    "dice and ce": DiceCELoss3D(),
    "focal": FocalLoss3D(),
    "focal of the foreground": FocalLoss3D(include_background=False, class_weight=[1.0, 2.0, 5.0]),
    "tversky": TverskyLoss3D(),
    "combo": ComboLoss(),
    "combine": CombineLoss(),
    "sum": SumLoss3D([dict(type="DiceLoss3D", loss_weight=0.5), dict(type="FocalLoss3D", gamma=1.5)]),
}
every_loss = pytest.mark.parametrize("loss", EVERY.values(), ids=EVERY.keys())


def golden(classes: int) -> tuple[Tensor, Tensor]:
    """The batch the published code was run on: formulas over the running index of an element."""
    count = 2 * classes * 24
    logits = (7 * torch.arange(count) % 11) / 5 - 1
    voxel = torch.arange(48)
    labels = 5 * voxel % 2 if classes == 2 else 5 * voxel // 3 % 3
    return logits.view(2, classes, 2, 3, 4), labels.view(2, 2, 3, 4)


def random(classes: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, classes, 3, 4, 5, generator=generator)
    return logits, torch.randint(0, classes, (2, 3, 4, 5), generator=generator, dtype=torch.uint8)


# What the original code printed for the batches of ``golden`` (float32), as terms without their weights.
@pytest.mark.parametrize(
    ("loss", "terms", "totals"),
    [
        (CrossEntropyLoss3D(), {"ce": (0.799091, 1.367112)}, (0.799091, 1.367112)),
        (DiceCELoss3D(lambda_ce=0.3), {"dice": (0.370262, 0.576983)}, (0.609989, 0.987117)),
        (
            ComboLoss((1.0, 0.5), smooth=0.001, legacy=True),
            {"ce": (0.799091, 1.367112), "dice": (0.591873 / 2, 0.742501 / 2)},
            (1.095028, 1.738363),
        ),
        (
            CombineLoss(legacy=True),
            {"ce": (0.779593, 0.537829), "dice": (0.490120 / 2, 0.675039 / 2)},
            (1.024653, 0.875349),
        ),
        # The corrected forms: the true Dice loss of the foreground, and the cross-entropy over the class axis.
        (DiceLoss3D(include_background=False, smooth=1e-9), {"dice": (0.487217, 0.704162)}, (0.487217, 0.704162)),
        (CombineLoss(), {"ce": (0.399546, 0.455704)}, (0.399546 + 0.490120 / 2, 0.455704 + 0.675039 / 2)),
        (ComboLoss(smooth=1e-9), {}, (0.799091 + 0.487217 / 2, 1.367112 + 0.704162 / 2)),
    ],
    ids=["ce", "dice-ce", "combo-legacy", "combine-legacy", "dice-foreground", "combine", "combo"],
)
@pytest.mark.parametrize("classes", [2, 3])
def test_the_published_numbers(loss: VolumeLoss, terms: dict, totals: tuple, classes: int):
    parts = loss.parts(*golden(classes))
    for name, values in terms.items():
        assert parts[name].item() == pytest.approx(values[classes - 2], abs=5e-6)
    assert loss(*golden(classes)).item() == pytest.approx(totals[classes - 2], abs=5e-6)


def test_a_perfect_answer_costs_nothing_but_in_the_published_combo():
    labels = random()[1]
    logits = 50.0 * F.one_hot(labels.long(), 3).movedim(-1, 1)
    for name in ("dice", "dice and ce", "focal", "tversky", "combo"):
        assert EVERY[name](logits, labels).item() == pytest.approx(0, abs=1e-4), name
    # I = P = T of the Dice term: 1 - 2 I / (I + P + T) = 1/3, times its weight of 1/2.
    assert ComboLoss(legacy=True)(logits, labels).item() == pytest.approx(1 / 6, abs=1e-4)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (DiceLoss3D(), DiceLoss(softmax=True, to_onehot_y=True)),
        (DiceLoss3D(squared=True, batch=True), DiceLoss(softmax=True, to_onehot_y=True, squared_pred=True, batch=True)),
        (DiceLoss3D(include_background=False), DiceLoss(softmax=True, to_onehot_y=True, include_background=False)),
        (DiceLoss3D(class_weight=[1, 2, 5]), DiceLoss(softmax=True, to_onehot_y=True, weight=[1, 2, 5])),
        (FocalLoss3D(), FocalLoss(use_softmax=True, to_onehot_y=True)),
        (FocalLoss3D(class_weight=[1, 2, 5]), FocalLoss(use_softmax=True, to_onehot_y=True, weight=[1.0, 2.0, 5.0])),
        (TverskyLoss3D(), TverskyLoss(softmax=True, to_onehot_y=True, alpha=0.3, beta=0.7)),
    ],
)
def test_monais_values(ours, theirs):
    logits, labels = random()
    assert ours(logits, labels).item() == pytest.approx(theirs(logits, labels[:, None]).item(), rel=1e-5)


def test_cross_entropy_is_torchs_own():
    logits, labels = random()
    labels[:, :1] = 255
    for weight in (None, [1.0, 2.0, 5.0]):
        theirs = F.cross_entropy(logits, labels.long(), weight and torch.tensor(weight), ignore_index=255)
        assert CrossEntropyLoss3D(weight)(logits, labels).item() == pytest.approx(theirs.item(), rel=1e-5)


@every_loss
def test_ignored_voxels_change_neither_value_nor_gradient(loss):
    """A slice of label 255 counts like a slice that was never there, whatever its scores are."""
    logits, labels = random()
    logits.requires_grad_()
    alone = loss(logits, labels)
    (expected,) = torch.autograd.grad(alone, logits)
    for score in (3.0, -1e4, math.nan):
        more = torch.cat([logits.detach(), torch.full((2, 3, 1, 4, 5), score)], dim=2).requires_grad_()
        known = torch.cat([labels, torch.full((2, 1, 4, 5), 255, dtype=torch.uint8)], dim=1)
        value = loss(more, known)
        (gradient,) = torch.autograd.grad(value, more)
        assert value.item() == pytest.approx(alone.item(), rel=1e-5)
        torch.testing.assert_close(gradient[:, :, :3], expected)
        assert torch.equal(gradient[:, :, 3:], torch.zeros(2, 3, 1, 4, 5))


@every_loss
def test_a_batch_without_a_known_voxel_teaches_nothing(loss):
    logits = random()[0].requires_grad_()
    value = loss(logits, torch.full((2, 3, 4, 5), 255, dtype=torch.uint8))
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6) and torch.equal(logits.grad, torch.zeros_like(logits))


@every_loss
def test_a_batch_of_background_only_has_a_finite_loss_and_gradient(loss):
    logits = random()[0].requires_grad_()
    value = loss(logits, torch.zeros(2, 3, 4, 5, dtype=torch.uint8))
    value.backward()
    assert value.isfinite() and logits.grad.isfinite().all()
    # A focal loss of exclusive classes judges a voxel by its true class alone: nothing is left without the background.
    assert (logits.grad.abs().sum() > 0) == (loss is not EVERY["focal of the foreground"])


@every_loss
def test_bfloat16_scores_are_compared_in_float32(loss):
    logits, labels = random()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(logits.bfloat16(), labels)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(logits.bfloat16().float(), labels).item(), rel=1e-6)


@every_loss
def test_regions(loss):
    """Every loss takes regions, and an ignored voxel of a region changes nothing."""
    logits, labels = random()
    target = torch.stack([labels >= 1, labels == 2, labels == 0], dim=1).to(torch.uint8)
    more = torch.cat([logits, torch.full((2, 3, 1, 4, 5), 7.0)], dim=2).requires_grad_()
    known = torch.cat([target, torch.full((2, 3, 1, 4, 5), 255, dtype=torch.uint8)], dim=2)
    value = loss(more, known)
    value.backward()
    assert value.item() == pytest.approx(loss(logits, target).item(), rel=1e-5)
    assert more.grad[:, :, :3].abs().sum() > 0 and not more.grad[:, :, 3:].any()


def test_regions_by_hand():
    """Two voxels, one inside, both with score 0, so p = 1/2."""
    logits, target = torch.zeros(1, 1, 1, 1, 2), torch.tensor([1, 0]).view(1, 1, 1, 1, 2)
    assert CrossEntropyLoss3D()(logits, target).item() == pytest.approx(math.log(2))
    assert DiceLoss3D()(logits, target).item() == pytest.approx(1 - 2 * 0.5 / (1 + 1), abs=1e-5)
    assert DiceLoss3D(squared=True)(logits, target).item() == pytest.approx(1 - 2 * 0.5 / (0.5 + 1), abs=1e-5)
    # TP = FN = FP = 1/2: 1 - 0.5 / (0.5 + 0.3 / 2 + 0.7 / 2)
    assert TverskyLoss3D()(logits, target).item() == pytest.approx(0.5, abs=1e-5)
    assert FocalLoss3D(gamma=2.0)(logits, target).item() == pytest.approx(0.25 * math.log(2))


def test_regions_have_no_background_to_leave_out():
    logits, labels = random()
    target = torch.stack([labels >= 1, labels == 2, labels == 0], dim=1).to(torch.uint8)
    for kind in (DiceLoss3D, FocalLoss3D, TverskyLoss3D):
        assert torch.equal(kind(include_background=False)(logits, target), kind()(logits, target))


def test_a_sum_shares_names_and_weights():
    logits, labels = random()
    dice, ce = DiceLoss3D()(logits, labels), CrossEntropyLoss3D()(logits, labels)
    parts = [dict(type="DiceLoss3D", loss_weight=0.5), dict(type="CrossEntropyLoss3D"), dict(type="CrossEntropyLoss3D")]
    got = SumLoss3D(parts, loss_weight=3.0).parts(logits, labels)
    assert got.keys() == {"dice", "ce"}
    assert got["dice"].item() == pytest.approx(1.5 * dice.item()) and got["ce"].item() == pytest.approx(6 * ce.item())


def test_weights_are_settings_and_no_state():
    assert DiceCELoss3D(class_weight=[1.0, 2.0]).state_dict() == {}


def test_what_is_refused():
    logits, labels = random()
    regions = torch.ones(2, 3, 3, 4, 5)
    with pytest.raises(ValueError, match="2 numbers for 3 classes"):
        CrossEntropyLoss3D([1.0, 2.0])(logits, labels)
    with pytest.raises(ValueError, match="must not be negative"):
        DiceLoss3D(class_weight=[1.0, -2.0])
    with pytest.raises(ValueError, match="different shapes"):
        DiceLoss3D()(logits, labels[:, :2])
    with pytest.raises(ValueError, match="trained with"):
        CombineLoss((1.0, 0.3), legacy=True)
    for loss in (ComboLoss(legacy=True), CombineLoss(legacy=True)):
        with pytest.raises(ValueError, match="no overlapping regions"):
            loss(logits, regions)
    with pytest.raises(ValueError, match="no ignored voxels"):
        CombineLoss(legacy=True)(logits, torch.full_like(labels, 255))


def test_the_published_combo_divides_by_ignored_voxels_too():
    logits, labels = random()
    labels[:, 0] = 255  # one slice of three
    ratio = ComboLoss(legacy=True).parts(logits, labels)["ce"] / ComboLoss().parts(logits, labels)["ce"]
    assert ratio.item() == pytest.approx(2 / 3)


def test_no_name_hides_one_of_other_registries():
    for part in (DiceLoss3D, FocalLoss3D, TverskyLoss3D, CrossEntropyLoss3D, SumLoss3D, DiceCELoss3D):
        assert MODELS.get(part.__name__) is part
    for name in ("DiceLoss", "FocalLoss", "TverskyLoss", "CrossEntropyLoss"):
        assert not MODELS.get(name).__module__.startswith("medseg")


def one_organ() -> Tensor:
    """A slice (1, 1, 512, 512) with one organ, of 100 x 100 pixels, among 14 classes."""
    labels = torch.zeros(1, 1, 512, 512, dtype=torch.uint8)
    labels[..., 100:200, 100:200] = 6
    return labels


def test_dice_and_focal_of_transseg_are_of_softmax_and_have_its_floor():
    """Logit 10 on the true class: the twelve absent classes cost nearly 1 each, so the Dice term is 12 / 14.

    p of a wrong class is e^-10 (1 - 13 e^-10) = 4.537e-5, over 512 x 512 pixels 11.89: 1 - 1e-5 / 11.89 = 1.0000.
    """
    labels = one_organ()
    scores = 10 * F.one_hot(labels.long(), 14).movedim(-1, 1).float()
    loss = SumLoss3D([dict(type="DiceLoss3D"), dict(type="FocalLoss3D")])
    parts = loss.parts(scores, labels)
    assert parts["dice"].item() == pytest.approx(0.8572, abs=5e-5)
    wrong = 13 * math.exp(-10)  # 1 - p of the true class, so log p is about -13 e^-10; one class of 14 has it
    assert parts["focal"].item() == pytest.approx(wrong**3 / 14, rel=0.01)


def test_sure_and_right_costs_nothing():
    labels = one_organ()
    scores = 1e4 * F.one_hot(labels.long(), 14).movedim(-1, 1).float()  # probabilities are 0 and 1 then
    parts = SumLoss3D([dict(type="DiceLoss3D"), dict(type="FocalLoss3D")]).parts(scores, labels)
    assert {name: value.item() for name, value in parts.items()} == {"dice": pytest.approx(0, abs=1e-6), "focal": 0}
