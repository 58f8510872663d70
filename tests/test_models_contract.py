"""Every registered backbone keeps its word; adding a backbone adds its tests."""

from copy import deepcopy

import pytest
import torch

from vdt3d.models import WindowBackbone
from vdt3d.registry import MODELS

OTHERS = ("PictureEncoder", "ResNetNoStemStride", "SliceEncoder")  # of images, or without maps
MODELS.import_from_location()
BACKBONES = sorted(
    name
    for name, part in MODELS.module_dict.items()
    if ".models.backbones." in part.__module__  # vdt3d's and medseg's
    and name not in OTHERS
)
TRANSFORMER = {"img_size": 64, "embed_dims": 16, "depth": 2, "num_heads": 2, "out_indices": (0, 1)}
SWIN = {"embed_dims": 8, "depths": (2, 1, 1, 1), "num_heads": (1, 2, 2, 4), "drop_path_rate": 0.0}
SMALL = {
    "BEiT3D": TRANSFORMER,
    "Convert2d": {"model": "torchvision.resnet18", "how": "2.5d"},
    "MP3D": {"depth": 18, "base_channels": 4, "norm_cfg": {"type": "BN"}, "conversion": "conv3d"},
    "P3D": {"depth": "18ba", "base_channels": 4, "norm_cfg": {"type": "GN", "num_groups": 2}, "depth_pooling": False},
    "ResNet3D": {"depth": 10, "base_channels": 4, "out_indices": (0, 1, 2, 3), "unet_features": True},
    "Swin3D": SWIN,
    "TorchvisionVideo": {"arch": "mc3_18", "out_indices": (0, 1, 2, 3, 4)},  # the smallest of the three
    "UNet3D": {"base_channels": 2},
    "ViT3D": TRANSFORMER,
    "VideoSwin": SWIN,
    "VolumeEncoder": {
        "backbone": {"type": "ResNet3D", "depth": 10, "base_channels": 4, "out_indices": (0, 1, 2, 3)},
        "conversion": "groupconv",
    },
    "WindowEncoder": {"model": "timm.test_vit"},
}


def build(name: str) -> torch.nn.Module:
    """A small backbone of volumes, or of windows of three slices."""
    torch.manual_seed(0)
    window = {"window": dict(slices=3)} if issubclass(MODELS.get(name), WindowBackbone) else {}
    return MODELS.build({"type": name, "in_channels": 1, **window, **SMALL[name]})


@pytest.fixture(params=BACKBONES)
def backbone(request) -> torch.nn.Module:
    return build(request.param)


def test_the_search_finds_the_backbones():
    assert {"ResNet3D", "UNet3D"} <= set(BACKBONES)


@pytest.mark.parametrize("size", [(3, 64, 64), (5, 33, 47)])
def test_it_gives_the_channels_and_strides_it_announces(backbone, size):
    windows = isinstance(backbone, WindowBackbone)
    if windows:  # is made for a number of slices, and some for a size; answers one slice
        size = getattr(backbone, "shape", (backbone.window.slices, *size[1:]))
    features = backbone.eval()(torch.zeros(1, 1, *size))
    promised = [
        (info.channels, *[-(-n // step) for n, step in zip(size, info.stride, strict=True)][windows:])
        for info in backbone.feature_info
    ]
    assert [tuple(feature.shape[1:]) for feature in features] == promised
    assert len({info.name for info in backbone.feature_info}) == len(features)


def test_gradients_reach_every_parameter(backbone):
    sum(feature.square().sum() for feature in backbone(torch.randn(2, 1, 3, 64, 64))).backward()
    starved = [name for name, p in backbone.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert starved == []


def test_it_survives_a_save(backbone, tmp_path):
    path, x = tmp_path / "backbone.pth", torch.randn(1, 1, 3, 64, 64)
    torch.save(backbone.state_dict(), path)
    expected = backbone.eval()(x)
    for tensor in backbone.state_dict().values():
        tensor.fill_(1)
    backbone.load_state_dict(torch.load(path, weights_only=True))
    for got, wanted in zip(backbone(x), expected, strict=True):
        assert torch.equal(got, wanted)


def test_a_copy_keeps_the_mode(backbone):
    x = torch.randn(1, 1, 3, 64, 64)
    with torch.no_grad():
        for got, wanted in zip(deepcopy(backbone.eval())(x), backbone(x), strict=True):
            assert torch.equal(got, wanted)
    assert not any(module.training for module in deepcopy(backbone).modules())


def test_it_initialises_and_chains(backbone):
    backbone.init_weights()
    assert backbone.train() is backbone and backbone.eval() is backbone
