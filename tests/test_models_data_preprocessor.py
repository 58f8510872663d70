"""The data preprocessor by hand-worked values, and what it refuses."""

import numpy as np
import pytest
import torch

from vdt3d.models import VolumeDataPreprocessor
from vdt3d.registry import MODELS
from vdt3d.structures import Sample, Volume


def batch(preprocessor: VolumeDataPreprocessor, *volumes: torch.Tensor) -> torch.Tensor:
    return preprocessor({"inputs": list(volumes), "data_samples": None})["inputs"]


def test_one_grey_mean_and_std_for_bytes():
    preprocessor = MODELS.build({"type": "VolumeDataPreprocessor", "mean": 100, "std": 50})
    volumes = torch.tensor([[0, 100], [150, 200]], dtype=torch.uint8)
    normalised = batch(preprocessor, *volumes.view(2, 1, 1, 1, 2))
    assert normalised.shape == (2, 1, 1, 1, 2) and normalised.dtype == torch.float32
    assert normalised.flatten().tolist() == [-2, 0, 1, 2]


def test_statistics_per_channel_not_per_slice():
    volume = torch.tensor([[10.0, 10.0], [20.0, 20.0]]).view(2, 2, 1, 1)  # two channels of two slices
    normalised = batch(VolumeDataPreprocessor(mean=[10, 0], std=[1, 4]), volume)
    assert normalised.flatten().tolist() == [0, 0, 5, 5]


def test_the_given_volumes_stay_as_they_were():
    volume = torch.ones(1, 1, 2, 2)
    batch(VolumeDataPreprocessor(mean=1), volume)
    assert (volume == 1).all()


def test_channels_last():
    volumes = torch.zeros(2, 3, 4, 5, 6)
    assert batch(VolumeDataPreprocessor(channels_last=True), *volumes).is_contiguous(
        memory_format=torch.channels_last_3d
    )
    assert batch(VolumeDataPreprocessor(), *volumes).is_contiguous()


def test_statistics_are_no_weights_and_take_any_memory_format():
    preprocessor = VolumeDataPreprocessor(mean=[1, 2], std=[3, 4])
    assert not preprocessor.state_dict()
    preprocessor.to(memory_format=torch.channels_last_3d)


def test_volumes_of_different_heights_and_widths_are_padded_at_the_end():
    """To the largest, 3 x 2, and on to multiples of 4; zeros are the network's, not the scan's."""
    preprocessor = VolumeDataPreprocessor(mean=1, std=2, pad_to=4)
    normalised = batch(preprocessor, torch.full((1, 2, 1, 2), 5.0), torch.full((1, 2, 3, 1), 3.0))
    assert normalised.shape == (2, 1, 2, 4, 4)
    assert (normalised[0, :, :, :1, :2] == 2).all() and normalised[0].sum() == 2 * 2 * 2
    assert (normalised[1, :, :, :3, :1] == 1).all() and normalised[1].sum() == 2 * 3
    largest = batch(VolumeDataPreprocessor(pad_to=1), torch.zeros(1, 2, 5, 7), torch.zeros(1, 2, 6, 3))
    assert largest.shape == (2, 1, 2, 6, 7)


def test_depth_and_channels_are_not_padded():
    with pytest.raises(ValueError, match=r"differ in shape: \(1, 2, 4, 4\), \(1, 3, 4, 4\)"):
        batch(VolumeDataPreprocessor(pad_to=4), torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="pad_to=0"):
        VolumeDataPreprocessor(pad_to=0)


@pytest.mark.parametrize(
    ("volumes", "message"),
    [
        ([(1, 4, 8, 8), (1, 5, 8, 8)], r"differ in shape: \(1, 4, 8, 8\), \(1, 5, 8, 8\); crop, pad or resize"),
        ([(3, 8, 8)], r"\(3, 8, 8\), wanted is a volume \(C, D, H, W\); pictures .* ColoursToSlices"),
        ([(8, 8)], r"\(8, 8\), wanted is a volume \(C, D, H, W\)$"),
        ([(3, 4, 8, 8)], "mean has 2 numbers for volumes of 3 channels"),
    ],
)
def test_what_is_no_batch_is_refused(volumes, message):
    with pytest.raises(ValueError, match=message):
        batch(VolumeDataPreprocessor(mean=[0, 0]), *map(torch.zeros, volumes))


def test_a_standard_deviation_of_zero_is_refused():
    with pytest.raises(ValueError, match="must be positive"):
        VolumeDataPreprocessor(std=[1, 0])


def test_samples_that_nobody_packed_are_named():
    sample = Sample(Volume(np.zeros((1, 2, 2, 2), np.float32)))
    with pytest.raises(ValueError, match="ends in a Sample, and should in PackVolume"):
        VolumeDataPreprocessor()([sample, sample])


LITE = {"type": "Convert2d", "model": "timm.efficientnet_lite0", "out_indices": (0,)}
RESNET = {"type": "Convert2d", "model": "torchvision.resnet18", "out_indices": (0,)}


@pytest.mark.parametrize(
    ("backbone", "mean", "std"),
    [
        (LITE, [0.449], [0.226]),  # of grey volumes: the mean over the colours
        (RESNET | {"in_channels": 3}, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ({"type": "WindowEncoder", "model": "timm.test_nfnet"}, None, None),
    ],
)
def test_statistics_of_the_pretrained_weights_on_request(backbone, mean, std):
    backbone = MODELS.build(backbone)
    wanted = backbone.input_statistics
    mean, std = mean or [sum(wanted.mean) / 3], std or [sum(wanted.std) / 3]
    model = MODELS.build(
        {
            "type": "VolumeClassifier",
            "backbone": backbone,
            "data_preprocessor": {"type": "VolumeDataPreprocessor", "input_statistics": "pretrained"},
        }
    )
    assert model.data_preprocessor.mean.tolist() == pytest.approx(mean)
    assert model.data_preprocessor.std.tolist() == pytest.approx(std)
    channels = backbone.in_channels
    normalised = batch(model.data_preprocessor, torch.full((channels, 1, 1, 1), 0.5))
    assert normalised.flatten().tolist() == pytest.approx([(0.5 - m) / s for m, s in zip(mean, std, strict=True)])


def test_statistics_that_are_not_known_or_given_twice_are_refused():
    pretrained = {"type": "VolumeDataPreprocessor", "input_statistics": "pretrained"}
    with pytest.raises(ValueError, match=r"mean=1\.0"):
        MODELS.build(pretrained | {"mean": 1.0})
    with pytest.raises(ValueError, match="input_statistics='imagenet'"):
        MODELS.build(pretrained | {"input_statistics": "imagenet"})
    resnet = {"type": "ResNet3D", "depth": 10, "base_channels": 4}
    with pytest.raises(ValueError, match="ResNet3D"):
        MODELS.build({"type": "VolumeClassifier", "backbone": resnet, "data_preprocessor": pretrained})
