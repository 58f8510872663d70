"""Encoders made of networks of timm and torchvision: gradients, norms, modes and copies, whatever the family."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from vdt3d.explain import randomised
from vdt3d.models import Convert2d, PictureEncoder
from vdt3d.models.backbones.feature_maps import with_features
from vdt3d.models.inflate import ConversionError

TIMM = (
    "cs3darknet_s",
    "convnextv2_atto",
    "dla46_c",
    "ecaresnet26t",
    "edgenext_xx_small",
    "efficientvit_b0",
    "ese_vovnet19b_dw",
    "ghostnet_050",
    "hardcorenas_a",
    "hgnetv2_b0",
    "lcnet_050",
    "mnasnet_small",
    "mobilenetv2_050",
    "mobilenetv3_small_050",
    "mobilenetv4_conv_small_050",
    "mobilevit_xxs",
    "regnetx_002",
    "regnety_002",
    "repghostnet_050",
    "resnest14d",
    "resnet10t",
    "rexnet_100",
    "seresnet18",
    "skresnet18",
    "starnet_s1",
    "test_byobnet",
    "test_convnext",
    "test_efficientnet",
    "test_nfnet",
    "tinynet_e",
)
TORCHVISION = (
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
)
NAMES = [*(f"timm.{name}" for name in TIMM), *(f"torchvision.{name}" for name in TORCHVISION)]


@pytest.mark.parametrize("name", NAMES)
def test_one_step_reaches_every_parameter_and_norm_and_copies_keep_the_mode(name):
    torch.manual_seed(0)
    encoder, images = PictureEncoder(name, in_channels=5), torch.randn(2, 5, 64, 96)
    features = encoder(images)
    strides = [info.stride[-1] for info in encoder.feature_info]
    assert strides == sorted(set(strides)) and strides[-1] >= 32
    for info, feature in zip(encoder.feature_info, features, strict=True):
        assert feature.shape == (2, info.channels, 64 // info.stride[1], 96 // info.stride[2])
    sum(feature.square().mean() for feature in features).backward()
    assert [name for name, parameter in encoder.named_parameters() if parameter.grad is None] == []
    assert counts(encoder) <= {1}

    copy = deepcopy(encoder.eval())
    assert not any(module.training for module in copy.modules())
    with torch.no_grad():
        for one, other in zip(encoder(images), copy(images), strict=True):
            assert torch.equal(one, other)
        copy.train()(images)
    assert counts(copy) <= {2} and counts(encoder) <= {1}
    assert not any(module.training for module in encoder.modules())


def counts(network: nn.Module) -> set[int]:
    """Numbers of batches that the batch norms have counted."""
    return {int(module.num_batches_tracked) for module in network.modules() if isinstance(module, _BatchNorm)}


def test_building_keeps_the_modes_of_the_network_and_counts_no_batch():
    encoder = PictureEncoder("timm.test_efficientnet")
    assert all(module.training for module in encoder.modules())
    assert not any(
        value.any() for key, value in encoder.state_dict().items() if "running_mean" in key or "num_b" in key
    )


def test_a_part_that_is_frozen_by_hand_stays_in_evaluation_mode():
    encoder = PictureEncoder("timm.test_efficientnet")
    encoder.network.blocks[0].eval()
    encoder(torch.randn(2, 3, 64, 64))
    counts = {key: int(value) for key, value in encoder.state_dict().items() if "num_batches_tracked" in key}
    assert {key for key, count in counts.items() if not count} == {key for key in counts if ".blocks.0." in key}


def test_layers_behind_the_last_feature_are_left_out():
    whole, part = (PictureEncoder("timm.test_efficientnet", out_indices=chosen) for chosen in (None, (1, 2)))
    assert not any("conv_head" in key for key in whole.state_dict())
    assert {key.split(".")[2] for key in part.state_dict() if ".blocks." in key} == {"0", "1", "2"}
    assert part.feature_info == whole.feature_info[1:3]


@pytest.mark.parametrize("how", ["i3d", "acs", "2.5d"])
def test_copies_of_converted_networks_keep_the_mode(how):
    backbone = Convert2d("timm.test_efficientnet", how).eval()
    x = torch.randn(1, 1, 4, 32, 32)
    with torch.no_grad():
        for one, other in zip(backbone(x), deepcopy(backbone)(x), strict=True):
            assert torch.equal(one, other)
    assert not any(module.training for module in randomised(backbone, seed=0).modules())


class Auxiliary(nn.Sequential):
    """Network that reads its input by another layer in training."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self[0](x) if self.training else self[1](x)


def test_a_forward_with_other_layers_in_training_is_refused():
    network = Auxiliary(nn.Conv2d(3, 4, 2, 2), nn.Conv2d(3, 4, 2, 2))
    with pytest.raises(ConversionError, match="Auxiliary"):
        with_features(network, (3, 192, 192))
