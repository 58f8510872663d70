"""The registries: whose part a name is, and what whoever misspells one is told."""

import pytest

from vdt3d.registry import DATASETS, METRICS, MODELS, TRANSFORMS, UnknownTypeError, where


@pytest.mark.parametrize(
    ("registry", "name", "nearest"),
    [
        (MODELS, "resnet3d", r"no model .* 'resnet3d'; did you mean 'ResNet3D' \(vdt3d/models/backbones/resnet3d\.py:"),
        (MODELS, "mmpretrain.ResNt", r"'ResNet' \(mmpretrain/models/backbones/resnet\.py:"),
        (DATASETS, "VolumeSegmentaton", r"'VolumeSegmentation' \(medseg/datasets/"),
        (METRICS, "Accurcy", r"'Accuracy' \(mmpretrain/evaluation/"),
        (TRANSFORMS, "xyzzy", "no transform is registered as 'xyzzy'; registered here: CenterCrop3D, "),
    ],
)
def test_a_misspelt_name_is_answered_with_its_nearest_and_their_files(registry, name, nearest):
    assert name not in registry
    with pytest.raises(UnknownTypeError, match=nearest):
        registry.build({"type": name})


def test_our_parts_come_first_and_a_scope_names_whose():
    assert where(MODELS.get("VolumeDataPreprocessor")).startswith("vdt3d/models/")
    assert where(DATASETS.get("VolumeSegmentation")).startswith("medseg/datasets/")
    assert where(MODELS.get("LinearClsHead")).startswith("mmpretrain/models/heads/")
    assert MODELS.get("mmpretrain.LinearClsHead") is MODELS.get("LinearClsHead")
