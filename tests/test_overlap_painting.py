"""Regions become labels: overlaps with labels of their own, nested regions, thresholds; and what is refused."""

from math import log

import numpy as np
import pytest
import torch
from overlapping import ORGANS, OverlappingOrgans, config
from torch import Tensor

from medseg.models import LabelScheme
from vdt3d.registry import MODELS
from vdt3d.structures import SegmentationSample, overlapping_regions

NESTED = dict(whole=(1, 2, 3), core=(2, 3), enhancing=(3,))


def combinations(count: int) -> Tensor:
    """(R, 2 ** R) scores: in column k, the regions whose bit is in k are on."""
    on = torch.arange(1 << count) >> torch.arange(count)[:, None] & 1
    return on.float() - 0.5


@pytest.mark.parametrize("organs", [("a",), ("a", "b", "c"), tuple("abcdefg")])
def test_every_sum_of_bits_comes_back(organs):
    scheme = LabelScheme(1 << len(organs), regions=overlapping_regions(organs))
    labels = torch.arange(1 << len(organs), dtype=torch.uint8).view(1, 1, -1)
    assert scheme.paint(combinations(len(organs))).tolist() == labels.flatten().tolist()
    sample = SegmentationSample()
    sample.gt_labels = labels
    assert torch.equal(scheme.paint(scheme.targets([sample], labels.shape)[0].float() - 0.5), labels)


def test_overlaps_in_any_order():
    # Columns: nothing, the first region, the second, both.
    assert LabelScheme(4, regions=dict(a=(1, 3), b=(2, 3))).paint(combinations(2)).tolist() == [0, 1, 2, 3]
    assert LabelScheme(4, regions=dict(b=(3, 2), a=(3, 1))).paint(combinations(2)).tolist() == [0, 2, 1, 3]


def test_nested_regions_are_answered_by_the_innermost():
    # Columns: none; whole; core; both; then the same with enhancing, which decides alone.
    assert LabelScheme(4, regions=NESTED).paint(combinations(3)).tolist() == [0, 1, 2, 2, 3, 3, 3, 3]


def test_an_overlap_without_a_label_is_answered_by_the_last():
    # a and b share label 4; with c, whose own label is 3, nothing is shared.
    scheme = LabelScheme(5, regions=dict(a=(1, 4), b=(2, 4), c=(3,)))
    assert scheme.paint(combinations(3)).tolist() == [0, 1, 2, 4, 3, 3, 3, 3]


@pytest.mark.parametrize(
    ("classes", "regions", "message"),
    [
        # Of b and c together, and of c with both others, there is no label; c alone has two of its own.
        (
            6,
            dict(a=(1, 3, 5), b=(2, 3), c=(4, 5)),
            r"region 'c' .* where b and c and nothing else .* \[4, 5\]: put",
        ),
        (3, dict(a=(1, 2), b=(2, 1)), "region 'a' .* where a and nothing else .* holds none: put outer"),
        (22, {f"r{n}": (n + 1,) for n in range(21)}, "21 regions: a network answers 20 at most"),
    ],
)
def test_what_has_no_answer_is_refused(classes, regions, message):
    with pytest.raises(ValueError, match=message):
        LabelScheme(classes, regions=regions)


def test_volumes_of_slabs_keep_their_shape():
    scores = torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    painted = LabelScheme(8, regions=overlapping_regions("abc")).paint(scores[..., ::2])
    assert painted.dtype == torch.uint8 and painted.shape == (2, 5, 2)
    expected = sum((scores[bit, ..., ::2] > 0).int() << bit for bit in range(3))
    assert torch.equal(painted.int(), expected)


def test_thresholds_are_probabilities_that_must_be_exceeded():
    scheme = LabelScheme(4, regions=dict(a=(1, 3), b=(2, 3)))
    # Probabilities 1/2, 3/4 and 4/5 are the logits 0, log 3 and log 4.
    scores = torch.tensor([[0.0, log(3), log(4)]] * 2)
    assert scheme.paint(scores).tolist() == [0, 3, 3]
    assert scheme.paint(scores, 0.75).tolist() == [0, 0, 3]
    assert scheme.paint(scores, dict(b=0.75)).tolist() == [0, 1, 3]
    assert scheme.paint(scores, dict(a=0.4, b=0.9)).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        (1, "threshold 1 of region 'bowel' is no probability between 0 and 1"),
        (dict(stomach=0.0), "threshold 0.0 of region 'stomach'"),
        (dict(bowel="0.5"), "threshold '0.5' of region 'bowel'"),
        (True, "threshold True"),
        (dict(colon=0.5), "thresholds for colon; the regions are bowel, stomach"),
    ],
)
def test_bad_thresholds_are_refused_with_the_config(thresholds, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        MODELS.build(config(tmp_path, thresholds=thresholds).model)


def test_thresholds_without_regions_are_refused(tmp_path):
    model = config(tmp_path, thresholds=0.4).model
    model.decode_head = dict(type="PseudoHead", num_classes=2)
    with pytest.raises(ValueError, match="of classes the largest score wins"):
        MODELS.build(model)


def test_a_model_decides_at_its_thresholds(tmp_path):
    packed = OverlappingOrgans()[0]
    found = {}
    for name, thresholds in {"half": None, "low": 0.1, "bowel": {ORGANS[0]: 0.1}}.items():
        model = MODELS.build(config(tmp_path, thresholds=thresholds).model).eval()
        with torch.no_grad():
            (sample,) = model.test_step({key: [value] for key, value in packed.items()})
        found[name] = sample.pred_labels.array[0]
    bowel, stomach = ({name: labels & bit for name, labels in found.items()} for bit in (1, 2))
    assert (bowel["low"] > bowel["half"]).any() and not (bowel["low"] < bowel["half"]).any()
    assert np.array_equal(bowel["bowel"], bowel["low"]) and np.array_equal(stomach["bowel"], stomach["half"])
    assert not np.array_equal(stomach["low"], stomach["half"])
