"""``vdt3d.create_backbone``: which backbone it builds, and which weights it asks for."""

import pytest

import vdt3d
from vdt3d.models import Convert2d, SliceEncoder, WindowEncoder
from vdt3d.models.weights import load


@pytest.fixture
def calls(monkeypatch) -> list:
    found = []

    def load_pretrained(model, source, **options):
        found.append((type(model), source, options))

    monkeypatch.setattr(load, "load_pretrained", load_pretrained, raising=False)
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
