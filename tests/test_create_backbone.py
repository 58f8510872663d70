"""``vdt3d.create_backbone``: which backbone it builds, and which weights it asks for."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import vdt3d
from vdt3d.models import Convert2d, SliceEncoder, WindowEncoder, create


@pytest.fixture
def calls(monkeypatch) -> list:
    found = []

    def load_pretrained(model, source, **options):
        found.append((type(model), source, options))

    monkeypatch.setattr(create, "load_pretrained", load_pretrained)
    return found


@pytest.mark.parametrize(
    ("how", "kind", "inflate"),
    [
        ("i3d", Convert2d, "i3d"),
        ("centre", Convert2d, "centre"),
        ("acs", Convert2d, None),
        ("2.5d", Convert2d, None),
        ("windows", WindowEncoder, None),
        ("slices", SliceEncoder, None),
    ],
)
def test_each_way_builds_its_class_and_loads_the_weights(calls, how, kind, inflate):
    model = "timm.test_efficientnet"
    assert type(vdt3d.create_backbone(model, how, pretrained=True, in_channels=2)) is kind
    vdt3d.create_backbone(model, how, pretrained="file.pth")
    vdt3d.create_backbone(model, how)
    sources = ["timm://test_efficientnet", "file.pth"]
    assert calls == [(kind, source, {"inflate": inflate}) for source in sources]


def test_options_reach_the_class(calls):
    encoder = vdt3d.create_backbone("timm.test_vit", "windows", window={"slices": 7}, out_indices=(-1,))
    assert encoder.window.slices == 7 and len(encoder.feature_info) == 1
    vdt3d.create_backbone({"type": "timm.test_vit", "depth": 2}, "windows", pretrained=True)
    assert [source for _, source, _ in calls] == ["timm://test_vit"]


def test_what_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"how='3d'.*i3d.*slices"):
        vdt3d.create_backbone("timm.test_vit", "3d")
    with pytest.raises(ValueError, match=r"pretrained=True.*ResNet"):
        vdt3d.create_backbone({"type": "ResNet", "depth": 18}, pretrained=True)
    with pytest.raises(AttributeError, match="create_network"):
        vdt3d.create_network  # noqa: B018


def test_the_lines_of_the_readme_give_a_backbone_for_a_plain_training_loop():
    text = (Path(__file__).parents[1] / "README.md").read_text()
    lines = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "create_backbone" in block)
    made: dict = {}
    exec(lines, made)
    backbone, maps, channels = made["backbone"], made["maps"], made["channels"]
    assert [features.shape[1] for features in maps] == channels
    head = nn.Linear(channels[-1], 2)
    optimizer = torch.optim.SGD([*backbone.parameters(), *head.parameters()], lr=1e-3)
    before = backbone.network.conv_stem.weight.detach().clone()
    scans = torch.rand(2, 1, 32, 64, 64, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        scores = head(backbone(scans)[-1].mean((2, 3, 4)))
        loss = nn.functional.cross_entropy(scores, torch.tensor([0, 1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.isfinite()
    assert not torch.equal(backbone.network.conv_stem.weight, before)
