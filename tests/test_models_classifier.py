"""The classifier: what is read from the backbone, losses worked out by hand, predictions."""

import math

import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.structures import DataSample

from vdt3d.models import VolumeDataPreprocessor
from vdt3d.registry import MODELS


def classifier(loss: dict | None = None, **options) -> torch.nn.Module:
    """A classifier of three classes that holds all of them equally likely."""
    config = {
        "type": "VolumeClassifier",
        "backbone": {"type": "ResNet3D", "depth": 10, "base_channels": 4},
        "neck": {"type": "GlobalAveragePooling", "dim": 3},
        "head": {"type": "LinearClsHead", "num_classes": 3, "loss": loss or {"type": "CrossEntropyLoss"}},
    }
    model = MODELS.build(config | options)
    torch.nn.init.zeros_(model.head.fc.weight)
    torch.nn.init.zeros_(model.head.fc.bias)
    return model


def data(*labels: int) -> dict:
    return {
        "inputs": [torch.randint(256, (1, 3, 32, 32), dtype=torch.uint8) for _ in labels],
        "data_samples": [DataSample().set_gt_label(label) for label in labels],
    }


def loss_of(model: torch.nn.Module, *labels: int) -> float:
    return model(**model.data_preprocessor(data(*labels), True), mode="loss")["loss"].item()


@pytest.mark.parametrize("scope", [None, "vdt3d"])
def test_names_are_found_without_and_with_a_default_scope(scope):
    with DefaultScope.overwrite_default_scope(scope):
        model = classifier(loss={"type": "LabelSmoothLoss", "label_smooth_val": 0.1})
    assert type(model.backbone).__module__.startswith("vdt3d.")
    assert type(model.head.loss_module).__name__ == "LabelSmoothLoss"
    assert loss_of(model, 0, 2) == pytest.approx(math.log(3))  # equal scores: whatever the target, log of 3


def test_the_head_takes_its_channels_from_the_backbone():
    assert classifier().head.fc.in_features == 32  # 4, 8, 16, 32
    with pytest.raises(RuntimeError, match="shapes"):
        given = classifier(head={"type": "LinearClsHead", "num_classes": 3, "in_channels": 7})
        loss_of(given, 0, 1)


def test_class_weights():
    model = classifier(loss={"type": "CrossEntropyLoss", "class_weight": [1.0, 2.0, 5.0]})
    assert loss_of(model, 0, 1) == pytest.approx((1 + 2) / 2 * math.log(3), rel=1e-5)
    assert loss_of(model, 2, 2) == pytest.approx(5 * math.log(3), rel=1e-5)


def test_predictions():
    model = classifier().eval()
    model.head.fc.bias.data = torch.tensor([1.0, 3.0, 1.0]).log()
    for sample, label in zip(model.test_step(data(0, 1)), (0, 1), strict=True):
        assert sample.pred_score.tolist() == pytest.approx([0.2, 0.6, 0.2], rel=1e-5)
        assert sample.pred_label.tolist() == [1] and sample.gt_label.tolist() == [label]


def test_the_data_preprocessor_is_ours_unless_named():
    model = classifier(data_preprocessor={"mean": 114.495, "std": 57.63})
    assert isinstance(model.data_preprocessor, VolumeDataPreprocessor)
    assert model.data_preprocessor.mean.item() == pytest.approx(114.495)
    named = classifier(data_preprocessor={"type": "mmpretrain.ClsDataPreprocessor"})
    assert type(named.data_preprocessor).__name__ == "ClsDataPreprocessor"


def test_a_config_may_be_built_twice():
    config = {"type": "LinearClsHead", "num_classes": 3}
    classifier(head=config)
    assert config == {"type": "LinearClsHead", "num_classes": 3}


@pytest.mark.parametrize("channels_last", [False, True])
def test_bfloat16_lowers_the_loss(channels_last):
    torch.manual_seed(0)
    model = classifier(data_preprocessor={"mean": 114.495, "std": 57.63, "channels_last": channels_last})
    if channels_last:
        model = model.to(memory_format=torch.channels_last_3d)
    batch = model.data_preprocessor(data(0, 1, 2), True)
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1), []
    for _ in range(5):
        with torch.autocast("cpu", torch.bfloat16):
            losses.append(model(**batch, mode="loss")["loss"])
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[0].item() == pytest.approx(math.log(3), rel=1e-2)
    assert losses[-1] < losses[0] / 2


def test_a_network_for_pictures():
    model = MODELS.build(
        {
            "type": "VolumeClassifier",
            "backbone": {"type": "mmpretrain.ResNet", "depth": 18, "base_channels": 64},
            "neck": {"type": "GlobalAveragePooling"},
            "head": {"type": "LinearClsHead", "num_classes": 3, "in_channels": 512},
            "data_preprocessor": {"type": "mmpretrain.ClsDataPreprocessor"},
        }
    ).eval()
    pictures = {"inputs": [torch.zeros(3, 32, 32)], "data_samples": [DataSample().set_gt_label(0)]}
    assert model.test_step(pictures)[0].pred_score.shape == (3,)
